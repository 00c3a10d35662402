/**
 * The program with several real guests at once, while somebody else adds DIMMs and CPUs and removes DIMMs: how soon each
 * header says so, and how long the guests stand still for it. Two have shared RAM, two QEMU's default.
 */
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { auditMachine } from "../src/keeper/audit.ts";
import { supply } from "../src/lab/fetch/supplies.ts";
import { AcceleratorChoice, type LabGuest } from "../src/lab/guest.ts";
import { bringCpuOnline, loadCaptureKernel, waitUntilOnline } from "../src/lab/guest-actions.ts";
import { buildParts, type BuiltParts } from "../src/lab/parts.ts";
import { bootPatiently } from "../src/lab/scenario.ts";
import { parseMemoryDevices } from "../src/layout/qmp.ts";
import { QemuGuest } from "../src/targets/qemu/guest.ts";
import { QemuMachine } from "../src/targets/qemu/machine.ts";
import { allocateDimm, plugCpu } from "../src/targets/qemu/plug.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { KeepProcess } from "./keep-process.ts";
import { DIMM, Reactions, wallClock } from "./reactions.ts";
import { type Findings, measured } from "./stats.ts";

const RAM = ["shared", "shared", "private", "private"] as const;
const CPUS = 2;
const CHANGES = 50;
/** Between two changes of one guest: long enough for a look at it, with a share that falls anywhere into one, ms. */
const CHANGE_EVERY_MS = [250, 650] as const;
/** A keeper that has looked at all guests, each of which has 20 MiB and more to hash. */
const ACCURATE_MS = 120_000;
/** For the last changes to be described. */
const SETTLE_MS = 30_000;
const REMOVAL_MS = 60_000;

/** What was done to one guest. */
interface Done {
  readonly plugged: number;
  readonly removed: number;
  readonly cpus: number;
}

/** Boots the guests, keeps them, changes them, and looks at what is left. */
export async function benchRealGuests(log: (line: string) => void, signal: AbortSignal): Promise<Findings> {
  const supplies = await supply({ kernel: "6.1", log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice());
  await using lab = new Guests();
  for (const ram of RAM) await lab.boot(parts, ram, log, signal);
  const reactions = RAM.map(() => ({ plugs: new Reactions(), removals: new Reactions() }));
  const targets = lab.guests.map(({ qmpPath }) => `qmp:${qmpPath}`);
  await using keep = new KeepProcess(targets, ({ target, missing, stale }) => {
    const at = wallClock();
    const { plugs, removals } = reactions[targets.indexOf(target)]!;
    plugs.answered(target, missing, at);
    removals.answered(target, stale, at);
  });
  await keep.until(() => keep.accurate.size === targets.length, ACCURATE_MS, signal);
  const installsBefore = keep.installs.length;
  const started = performance.now();
  const done = await Promise.all(
    lab.guests.map(async (guest, i) => {
      const { plugs, removals } = reactions[i]!;
      return await change(guest, { target: targets[i]!, plugs, removals, log, signal });
    }),
  );
  const tookMs = performance.now() - started;
  const isAnswered = (): boolean =>
    reactions.every(({ plugs, removals }) => plugs.pending === 0 && removals.pending === 0);
  await keep.until(isAnswered, SETTLE_MS, signal).catch((error: unknown) => log(String(error)));
  const rss = await keep.peakMiB();
  await keep.stop();
  const verdicts = await Promise.all(lab.guests.map(verdictOf));
  const sum = (what: keyof Done): number => done.reduce((total, each) => total + each[what], 0);
  const rows = (["shared", "private"] as const).flatMap((ram) => {
    const those = targets.filter((_, i) => RAM[i] === ram);
    const ms = (which: "plugs" | "removals"): readonly number[] =>
      reactions.flatMap((each, i) => (RAM[i] === ram ? each[which].ms : []));
    const pauses = keep.installs.slice(installsBefore).filter(({ target }) => those.includes(target));
    return [
      measured(`4 guests: from QEMU having a DIMM to its header (${ram} RAM)`, ms("plugs")),
      measured(`4 guests: from QEMU having lost one to the header (${ram} RAM)`, ms("removals")),
      measured(
        `4 guests: pause of an install (${ram} RAM)`,
        pauses.flatMap(({ pauseMs }) => (pauseMs === undefined ? [] : [pauseMs])),
      ),
    ];
  });
  return {
    measurements: rows,
    lines: [
      `${targets.length} guests, ${CHANGES} changes each in ${(tookMs / 1000).toFixed(0)} s: ${sum("plugged")} DIMMs added, ${sum("removed")} removed, ${sum("cpus")} CPUs added; at the end ${verdicts.join(", ")}; ${keep.installs.length - installsBefore} installs, ${keep.failures.length} failures; keep had ${rss.toFixed(0)} MiB resident at most; load average ${loadavg()[0]!.toFixed(1)}`,
      ...keep.failures,
    ],
  };
}

/** Guests that are ended together. */
class Guests implements AsyncDisposable {
  readonly guests: LabGuest[] = [];

  async boot(
    parts: BuiltParts,
    ram: (typeof RAM)[number],
    log: (line: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    log(`Starting guest ${this.guests.length + 1} of ${RAM.length}`);
    const wanted = {
      ramMiB: 1024,
      crashkernelMiB: 256,
      cpus: CPUS,
      ram,
      addedMemory: "online_movable",
    } as const;
    const { guest } = await bootPatiently(parts, wanted, { log, signal });
    this.guests.push(guest);
    await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const guest of this.guests) await guest[Symbol.asyncDispose]();
  }
}

interface ChangeOptions {
  readonly target: string;
  readonly plugs: Reactions;
  readonly removals: Reactions;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Two DIMMs come, one goes, and now and then a CPU comes, each by the lab's own QMP socket. */
async function change(
  guest: LabGuest,
  { target, plugs, removals, log, signal }: ChangeOptions,
): Promise<Done> {
  await using others = await QemuGuest.open(guest.labQmpPath);
  const dimms: { readonly id: string; readonly start: bigint }[] = [];
  const done = { plugged: 0, removed: 0, cpus: 0 };
  for (let i = 0; i < CHANGES; i++) {
    const [least, most] = CHANGE_EVERY_MS;
    await delay(least + ((most - least) * ((i * 7) % CHANGES)) / CHANGES, undefined, { signal });
    if (i % 12 === 5) {
      await plugCpu(others.qmp);
      await bringCpuOnline(guest.agent, CPUS + done.cpus);
      done.cpus++;
    } else if (i % 3 === 2) {
      const { id, start } = dimms.shift()!;
      await waitUntilOnline(guest.agent, [{ start, end: start + DIMM }]);
      const gone = others.qmp.waitForEvent("DEVICE_DELETED", { timeoutMs: REMOVAL_MS });
      gone.catch(() => undefined);
      await others.qmp.execute("device_del", { id });
      await gone;
      // What was never described need not be taken out.
      if (!plugs.forget(target, start)) removals.changed(target, start, wallClock());
      await others.qmp.execute("object-del", { id: `${id}-backend` });
      done.removed++;
    } else {
      const dimm = await allocateDimm(others.qmp, { size: DIMM });
      let at = 0;
      await dimm.plug(() => (at = wallClock()));
      const device = parseMemoryDevices(await others.memoryDevices()).find(({ id }) => id === dimm.id);
      const { start } = device!.range!;
      plugs.changed(target, start, at);
      dimms.push({ id: dimm.id, start });
      done.plugged++;
    }
    if (i % 10 === 9) log(`${target}: ${i + 1} changes`);
  }
  return done;
}

/** What a process that knows nothing of the guest finds, with all of the image hashed. */
async function verdictOf(guest: LabGuest): Promise<string> {
  await guest.agent.output("true");
  await using machine = await QemuMachine.open(guest.qmpPath);
  const { verdict, reason } = await auditMachine(machine, nodeSha256);
  return verdict === "accurate" ? verdict : `${verdict} (${reason})`;
}
