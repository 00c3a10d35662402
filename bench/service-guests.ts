/**
 * The guests of `bench/service-host.ts`, in a process of their own: pretended QEMUs in front of simulated machines.
 *
 * Each socket is renamed after it was bound. So nobody takes this one process for their QEMU, which to the keeper's lock
 * would be one guest with many sockets.
 */
import { rename } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import { startSimulatedQemu, type SimulatedQemu } from "../test/targets/qemu/simulated-qemu.ts";
import { DIMM, wallClock } from "./reactions.ts";

/** What the bench asks for. */
export type GuestsRequest =
  | { readonly plug: number }
  /** A DIMM comes or goes, so that a guest has some and never many. */
  | { readonly change: number }
  /** Reads metrics as Prometheus does. */
  | { readonly scrape: string }
  | { readonly judge: true }
  | { readonly usage: true }
  | { readonly end: true };

/** What is told back. Times are those of {@link wallClock}. */
export type GuestsReply =
  | { readonly started: number }
  | {
      readonly change: "plugged" | "removed";
      readonly guest: number;
      /** The DIMM's address. */
      readonly start: string;
      readonly at: number;
    }
  | {
      /** Guests whose dump would have all memory, and of those the ones whose dump claims nothing that is gone. */
      readonly complete: number;
      readonly exact: number;
      readonly dimms: number;
    }
  | { readonly cpuMs: number };

/** DIMMs of a guest that keeps changing. */
const MOST_DIMMS = 8;
/** A guest that stands still cannot give up memory: it is asked again then, ms. */
const ASK_AGAIN_MS = 5;
const [directory = "", count = "0", spec = ""] = process.argv.slice(2);
const guests: SimulatedQemu[] = [];
/** How many changes each guest has had. */
const turns: number[] = [];
const ending = new AbortController();

const tell = (reply: GuestsReply): void => void process.send?.(reply);

function changed(what: "plugged" | "removed", guest: number, start: bigint): void {
  tell({ change: what, guest, start: start.toString(), at: wallClock() });
}

function plug(guest: number): void {
  const { machine, plug: plugInto } = guests[guest]!;
  const id = plugInto(DIMM);
  changed("plugged", guest, machine.dimms.find((dimm) => dimm.id === id)!.range.start);
}

/** Two come, one goes, until there are as many as there may be; then each second one goes. */
function change(guest: number): void {
  const { machine, event } = guests[guest]!;
  const { dimms, running } = machine;
  const turn = (turns[guest] ?? 0) + 1;
  turns[guest] = turn;
  if (dimms.length < MOST_DIMMS && (turn % 3 !== 0 || dimms.length === 0)) {
    plug(guest);
    return;
  }
  if (!running) {
    turns[guest] = turn - 1;
    setTimeout(() => change(guest), ASK_AGAIN_MS);
    return;
  }
  const { id, range } = dimms[turn % dimms.length]!;
  machine.unplug(id);
  event("DEVICE_DELETED");
  changed("removed", guest, range.start);
}

process.on("message", (request: GuestsRequest) => {
  if ("plug" in request) plug(request.plug);
  else if ("change" in request) change(request.change);
  else if ("scrape" in request)
    get(request.scrape, (response) => response.resume()).on("error", console.error);
  else if ("judge" in request) {
    const complete = guests
      .map(({ machine }) => machine.judge())
      .filter(({ outcome }) => outcome === "complete");
    const dimms = guests.reduce((sum, { machine }) => sum + machine.dimms.length, 0);
    tell({ complete: complete.length, exact: complete.filter(({ stale }) => stale.isEmpty).length, dimms });
  } else if ("usage" in request) {
    const { user, system } = process.cpuUsage();
    tell({ cpuMs: (user + system) / 1000 });
  } else {
    ending.abort();
    void (async () => {
      await started;
      for (const guest of guests) await guest.stop();
      process.disconnect();
    })();
  }
});

// Whoever asked has ended, however that came.
process.on("disconnect", () => process.exit());

const started = startGuests();

async function startGuests(): Promise<void> {
  for (let i = 0; i < Number(count); i++) {
    if (ending.signal.aborted) return;
    const path = join(directory, `${i}.new`);
    guests.push(await startSimulatedQemu(spec, { path, ramFile: join(directory, `${i}.ram`) }));
    await rename(path, join(directory, `${i}.sock`));
  }
  tell({ started: guests.length });
}
