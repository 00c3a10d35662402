/** How long a real guest's header describes memory that is gone: somebody else removes it, or we do. */
import { Keeper } from "../src/keeper/keeper.ts";
import { dimmsNamed, unplugMemory } from "../src/keeper/unplug.ts";
import { watch } from "../src/keeper/watch.ts";
import { supply } from "../src/lab/fetch/supplies.ts";
import { AcceleratorChoice, LabGuest } from "../src/lab/guest.ts";
import { loadCaptureKernel, waitUntilOnline } from "../src/lab/guest-actions.ts";
import { buildParts } from "../src/lab/parts.ts";
import { QemuGuest } from "../src/targets/qemu/guest.ts";
import { QemuMachine } from "../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { type Measurement, measured } from "./stats.ts";

const REMOVALS = 100;
const DIMM = 128n << 20n;

/** Boots a guest whose added memory can be removed, and removes it again and again. */
export async function benchRemovals(
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly Measurement[]> {
  const supplies = await supply({ kernel: "6.1", log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice());
  await using guest = await LabGuest.boot({
    ...parts,
    ramMiB: 1024,
    crashkernelMiB: 256,
    ram: "shared",
    addedMemory: "online_movable",
    signal,
  });
  await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  await using machine = await QemuMachine.open(guest.qmpPath, { signal });
  await using others = await QemuGuest.open(guest.labQmpPath);
  const keeper = new Keeper(machine, nodeSha256);
  const plugged = async (): Promise<string> => {
    const { id, address } = await others.plugDimm({ size: DIMM });
    await waitUntilOnline(guest.agent, [{ start: address, end: address + DIMM }]);
    return id;
  };

  const ours: number[] = [];
  for (let i = 0; i < REMOVALS; i++) {
    const [dimm] = await dimmsNamed(machine, [await plugged()]);
    const { staleMicroseconds, answer } = await unplugMemory(machine, keeper, dimm!, 60_000);
    if (staleMicroseconds === undefined) throw new Error(`Cannot measure: ${JSON.stringify(answer)}`);
    ours.push(staleMicroseconds / 1000);
  }

  const theirs: number[] = [];
  const stop = new AbortController();
  let corrected: ((at: number) => void) | undefined;
  const watching = watch(machine, keeper, {
    signal: stop.signal,
    onEvent: (event) => {
      if (event.kind === "installed" && !event.before.stale.isEmpty) corrected?.(performance.now());
    },
  });
  // What ends it early is told of below.
  watching.catch(() => undefined);
  try {
    for (let i = 0; i < REMOVALS; i++) {
      const id = await plugged();
      const done = new Promise<number>((resolve) => (corrected = resolve));
      const gone = others.qmp.waitForEvent("DEVICE_DELETED", { timeoutMs: 60_000 });
      gone.catch(() => undefined);
      await others.qmp.execute("device_del", { id });
      await gone;
      const goneAt = performance.now();
      theirs.push(Math.max(0, (await Promise.race([done, watching.then(neverCorrected)])) - goneAt));
      await others.qmp.execute("object-del", { id: `${id}-backend` });
    }
  } finally {
    stop.abort();
  }
  await watching;
  const limit = { of: "p99", ms: 20 } as const;
  return [
    measured("unplug: from QEMU saying that it is gone to the header", ours, limit),
    measured("somebody else removes: from QEMU saying so to the header", theirs, limit),
  ];
}

function neverCorrected(): never {
  throw new Error("Cannot measure: the watching has ended");
}
