/** What happens to a real guest: how long finding its image takes, and how long an install stops it. */
import { setTimeout as delay } from "node:timers/promises";
import { install } from "../src/keeper/install.ts";
import { Keeper } from "../src/keeper/keeper.ts";
import { watch } from "../src/keeper/watch.ts";
import { plugMemory } from "../src/keeper/plug.ts";
import { locateImage } from "../src/image/locate.ts";
import { supply } from "../src/lab/fetch/supplies.ts";
import { AcceleratorChoice, LabGuest } from "../src/lab/guest.ts";
import { buildParts } from "../src/lab/parts.ts";
import { loadCaptureKernel } from "../src/lab/guest-actions.ts";
import { QemuGuest } from "../src/targets/qemu/guest.ts";
import { allocateDimm } from "../src/targets/qemu/plug.ts";
import { QemuMachine } from "../src/targets/qemu/machine.ts";
import type { GuestMemoryAccess } from "../src/targets/qemu/memory.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { type Measurement, measured, time } from "./stats.ts";

const INSTALLS = 100;
const PLUGS = 15;
const CHANGES = 100;
const ACCESS: Readonly<Record<Reach, GuestMemoryAccess>> = {
  "shared file": "shared-file",
  "QEMU's memory": "process-memory",
  gdbstub: "gdbstub",
};
/** Between two changes: longer than a look that hashes, with a share that falls anywhere into one. */
const CHANGE_EVERY_MS = [250, 650] as const;

/** How a guest's RAM is reached. */
export type Reach = "shared file" | "QEMU's memory" | "gdbstub";

/** Boots a guest, loads its capture kernel, adds a DIMM and measures. */
export async function benchGuest(
  how: Reach,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly Measurement[]> {
  const supplies = await supply({ kernel: "6.1", log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice());
  const ram = how === "shared file" ? "shared" : "private";
  await using guest = await LabGuest.boot({ ...parts, ramMiB: 1024, crashkernelMiB: 256, ram, signal });
  await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  const access = how === "gdbstub" ? "gdb" : "auto";
  await using machine = await QemuMachine.open(guest.qmpPath, { signal, access, alone: true });
  if (machine.memory.access !== ACCESS[how])
    throw new Error(`Cannot measure: memory is reached by ${machine.memory.access}, not by ${how}`);
  const keeper = new Keeper(machine, nodeSha256);
  const bare = await keeper.audit();
  const { image } = bare;
  if (!image) throw new Error(`Cannot measure: ${bare.reason}`);
  const { crashMemory } = image;

  const cold = await time(5, async () => locateImage(machine.memory, nodeSha256), 1);
  const located = await time(15, async () => locateImage(machine.memory, nodeSha256, { crashMemory }), 2);

  await machine.guest.plugDimm({ size: 128n << 20n });
  await keeper.reconcile();
  const pauses: number[] = [];
  const whole: number[] = [];
  for (let i = 0; i < INSTALLS / 2; i++) {
    // The header without the DIMM, and then the keeper's own work: to see that it is missing, and to install it.
    const { before } = await keeper.update();
    const prefix = await keeper.prepare(before.image!);
    const away = await install(machine, before.image!, image.header, prefix);
    keeper.follow(before.image!, away.writes);
    const started = performance.now();
    const { installed } = await keeper.update();
    whole.push(performance.now() - started);
    pauses.push(away.pauseMicroseconds! / 1000, installed!.pauseMicroseconds! / 1000);
  }
  const empty: number[] = [];
  for (let i = 0; i < INSTALLS; i++)
    empty.push((await machine.paused(async () => undefined)).microseconds! / 1000);
  const plugs: number[] = [];
  for (let i = 0; i < PLUGS; i++)
    plugs.push((await plugMemory(machine, keeper, 128n << 20n)).pauseMicroseconds! / 1000);
  const reactions = await reactionsToOthers(guest, machine, keeper);
  // The issue asks 300 ms only of guests with a shared file.
  const locate = how === "shared file" ? ({ of: "median", ms: 300 } as const) : undefined;
  return [
    measured(`locate and verify in 256 MiB of crash memory (${how})`, located, locate),
    measured(`locate and verify, all of 1 GiB searched (${how})`, cold),
    measured(`pause of an install, STOP to RESUME (${how})`, pauses, { of: "p99", ms: 3 }),
    measured(`a pause in which nothing is done, STOP to RESUME (${how})`, empty),
    measured(`a look and an install, read back (${how})`, whole),
    measured(`pause of a plug, STOP to RESUME (${how})`, plugs),
    measured(`somebody else plugs: from QEMU having it to the header (${how})`, reactions, {
      of: "p99",
      ms: 20,
    }),
  ];
}

/** How long after `device_add`'s answer the last byte of our header is there, while we hold the guest's QMP socket and watch. */
async function reactionsToOthers(
  guest: LabGuest,
  machine: QemuMachine,
  keeper: Keeper,
): Promise<readonly number[]> {
  await using others = await QemuGuest.open(guest.labQmpPath);
  const stop = new AbortController();
  let installedAt: ((at: number) => void) | undefined;
  const watching = watch(machine, keeper, {
    signal: stop.signal,
    onEvent: (event) => {
      if (event.kind === "installed") installedAt?.(performance.now() - event.installed.heldMs!);
    },
  });
  // What ends it early is told of below.
  watching.catch(() => undefined);
  const reactions: number[] = [];
  try {
    for (let i = 0; i < CHANGES; i++) {
      const [least, most] = CHANGE_EVERY_MS;
      await delay(least + ((most - least) * i) / CHANGES);
      const installed = new Promise<number>((resolve) => (installedAt = resolve));
      let answered = Infinity;
      const dimm = await allocateDimm(others.qmp, { size: 128n << 20n });
      await dimm.plug(() => (answered = performance.now()));
      reactions.push(
        Math.max(0, (await Promise.race([installed, watching.then(neverInstalled)])) - answered),
      );
    }
  } finally {
    stop.abort();
  }
  await watching;
  return reactions;
}

function neverInstalled(): never {
  throw new Error("Cannot measure: the watching has ended");
}
