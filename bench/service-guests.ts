/**
 * The guests of `bench/service.ts`, in a process of their own: pretended QEMUs in front of simulated machines.
 *
 * Each socket is renamed after it was bound. So nobody takes this one process for their QEMU, which to the keeper's lock
 * would be one guest with many sockets.
 */
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { startSimulatedQemu, type SimulatedQemu } from "../test/targets/qemu/simulated-qemu.ts";

/** What the bench asks for. */
export type GuestsRequest =
  { readonly plug: number } | { readonly judge: true } | { readonly usage: true } | { readonly end: true };

/** What is told back. Times are ms since 1970, with fractions. */
export type GuestsReply =
  | { readonly started: number }
  | { readonly plugged: number; readonly start: string; readonly at: number }
  | { readonly complete: number; readonly dimms: number }
  | { readonly cpuMs: number };

const DIMM = 128n << 20n;
const [directory = "", count = "0", spec = ""] = process.argv.slice(2);
const guests: SimulatedQemu[] = [];

const tell = (reply: GuestsReply): void => void process.send?.(reply);

process.on("message", (request: GuestsRequest) => {
  if ("plug" in request) {
    const { machine, plug } = guests[request.plug]!;
    const id = plug(DIMM);
    const at = performance.timeOrigin + performance.now();
    const start = machine.dimms.find((dimm) => dimm.id === id)!.range.start.toString();
    tell({ plugged: request.plug, start, at });
  } else if ("judge" in request) {
    const complete = guests.filter(({ machine }) => machine.judge().outcome === "complete").length;
    tell({ complete, dimms: guests.reduce((sum, { machine }) => sum + machine.dimms.length, 0) });
  } else if ("usage" in request) {
    const { user, system } = process.cpuUsage();
    tell({ cpuMs: (user + system) / 1000 });
  } else {
    void (async () => {
      for (const guest of guests) await guest.stop();
      process.disconnect();
    })();
  }
});

// Whoever asked has ended, however that came.
process.on("disconnect", () => process.exit());

for (let i = 0; i < Number(count); i++) {
  const path = join(directory, `${i}.new`);
  guests.push(await startSimulatedQemu(spec, { path }));
  await rename(path, join(directory, `${i}.sock`));
}
tell({ started: guests.length });
