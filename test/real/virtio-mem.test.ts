/**
 * virtio-mem: memory that grows and shrinks within one device, in parts that only guest and QEMU know.
 *
 * What may be used is described: the first `size` bytes as they come, and after a shrink what was described before,
 * since the guest gives back what it can spare, not what lies last.
 */
import { afterAll, describe, expect, it, vi } from "vitest";
import { Keeper } from "../../src/keeper/keeper.ts";
import { comparePages, readVmcore } from "../../src/lab/evidence.ts";
import { fillMemory, loadModules, onlineMemory, panic } from "../../src/lab/guest-actions.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import { hotpluggableMemory } from "../../src/layout/machine.ts";
import { parseMemoryDevices } from "../../src/layout/qmp.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { openLab } from "./lab.ts";

const MIB = 1n << 20n;

/** Asks the guest for `mib` in all, and waits until it has given or taken that much. */
async function resize(others: QemuGuest, mib: bigint): Promise<PhysicalRange> {
  await others.qmp.execute("qom-set", {
    path: "/machine/peripheral/vmem0",
    property: "requested-size",
    value: mib * MIB,
  });
  return await vi.waitFor(
    async () => {
      const [device] = parseMemoryDevices(await others.memoryDevices());
      if (!device?.range || device.range.end - device.range.start !== mib * MIB)
        throw new Error(`virtio-mem has not got to ${mib} MiB, it is at ${device?.range?.end}`);
      return device.range;
    },
    { timeout: 90_000, interval: 100 },
  );
}

/** Memory that the guest's kernel knows as the device's, whole blocks, before the panic. */
async function evidence(guest: LabGuest, memory: QemuMachine["memory"], range: PhysicalRange) {
  expect(await panic(guest)).toBe(true);
  const vmcore = await readVmcore(guest.agent);
  const pages = await comparePages(guest.agent, memory, vmcore!, range, seededRandom(1));
  await guest.agent.finish("capture");
  return { vmcore: vmcore!, pages };
}

describe.each([
  ["5.10", "kexec_file_load"],
  ["6.1", "kexec_load"],
  ["6.12", "kexec_load"],
] as const)("virtio-mem on %s, %s", async (kernel, load) => {
  const lab = await openLab(`virtio-mem on ${kernel}`, kernel);
  const virtioMem = { mib: 2048, inaccessible: kernel !== "5.10" };
  afterAll(() => lab?.close());

  it.skipIf(!lab)("that grew is in the dump, page by page, once the header has it", async () => {
    await using guest = await lab!.bootLoaded({ virtioMem, load });
    await using others = await QemuGuest.open(guest.labQmpPath);
    await using machine = await QemuMachine.open(guest.qmpPath);
    const keeper = new Keeper(machine, nodeSha256);
    await loadModules(guest.agent);
    expect((await keeper.audit()).verdict).toBe("accurate");

    // 640 MiB are five blocks, 704 five and a half.
    const range = await resize(others, 704n);
    const { before, after } = await keeper.reconcile();
    expect([before.verdict, after.verdict]).toEqual(["inaccurate", "accurate"]);
    expect(before.missing.ranges).toEqual([range]);
    await fillMemory(guest.agent, 704);
    const online = await onlineMemory(guest.agent);

    const { vmcore, pages } = await evidence(guest, machine.memory, range);
    expect(vmcore.described.contains(range.start)).toBe(true);
    // The guest's kernel lists whole blocks; what is behind the device's size is not plugged.
    expect(online.subtract(vmcore.described).subtract(RangeSet.of([blockAt(range.end)])).ranges).toEqual([]);
    expect(pages).toMatchObject({ sampled: 64, equal: 64, unreadable: 0 });
    expect(pages.nonZero).toBeGreaterThan(48);
  });
});

// One kernel will do: what it does with memory that it was told of does not depend on virtio-mem.
describe("virtio-mem on 6.1", async () => {
  const load = "kexec_load";
  const virtioMem = { mib: 2048, inaccessible: true };
  const lab = await openLab("virtio-mem that shrinks");
  afterAll(() => lab?.close());

  it.skipIf(!lab)("that shrank stays described, and its unplugged parts read as zeros", async () => {
    await using guest = await lab!.bootLoaded({ virtioMem, load });
    await using others = await QemuGuest.open(guest.labQmpPath);
    await using machine = await QemuMachine.open(guest.qmpPath);
    const keeper = new Keeper(machine, nodeSha256);
    await loadModules(guest.agent);
    const grown = await resize(others, 1024n);
    expect((await keeper.reconcile()).after.verdict).toBe("accurate");
    const shrunk = await resize(others, 512n);
    const { installed, after } = await keeper.reconcile();
    expect(installed).toBeUndefined();
    expect(after).toMatchObject({ verdict: "accurate" });
    expect(after.stale.ranges).toEqual([]);
    expect(hotpluggableMemory(after.layout).ranges).toEqual([shrunk]);
    const online = await onlineMemory(guest.agent);

    const { vmcore, pages } = await evidence(guest, machine.memory, grown);
    expect(online.subtract(vmcore.described).ranges).toEqual([]);
    expect(vmcore.described.covers(grown)).toBe(true);
    expect(pages).toMatchObject({ sampled: 64, equal: 64, unreadable: 0 });
  });
});

/** The memory block that `address` lies in. */
function blockAt(address: bigint): PhysicalRange {
  const start = address - (address % (128n * MIB));
  return { start, end: start + 128n * MIB };
}
