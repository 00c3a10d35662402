/**
 * Memory that comes in every shape: DIMMs of several sizes, with holes between them,
 * RAM above 4 GiB, with crash memory in two ranges, on one or two NUMA nodes, blocks that stay offline, and a guest that is still at it.
 */
import { afterAll, describe, expect, it } from "vitest";
import { Keeper } from "../../src/keeper/keeper.ts";
import { comparePages, type PageEvidence, readVmcore } from "../../src/lab/evidence.ts";
import { fillMemory, onlineMemory, panic, waitUntilOnline } from "../../src/lab/guest-actions.ts";
import { parseMemoryDevices } from "../../src/layout/qmp.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { openLab } from "./lab.ts";

const MIB = 1n << 20n;
const BLOCK = 128n * MIB;

/** A DIMM at an address of our choice. */
async function plugAt(
  others: QemuGuest,
  id: string,
  size: bigint,
  address: bigint,
  node = 0,
): Promise<PhysicalRange> {
  await others.qmp.execute("object-add", {
    "qom-type": "memory-backend-memfd",
    id: `${id}-ram`,
    size,
    share: true,
  });
  await others.qmp.execute("device_add", {
    driver: "pc-dimm",
    id,
    memdev: `${id}-ram`,
    addr: address,
    node,
  });
  return { start: address, end: address + size };
}

describe.each([
  ["5.10", "kexec_load", 1],
  ["6.1", "kexec_file_load", 2],
  ["6.12", "kexec_load", 2],
] as const)(
  "Linux %s with RAM above 4 GiB, an image loaded by %s into high crash memory, NUMA nodes: %i",
  async (kernel, load, nodes) => {
    const lab = await openLab(`memory of every shape on ${kernel}`, kernel);
    afterAll(() => lab?.close());

    it.skipIf(!lab)(
      "has DIMMs of several sizes, with holes between, in its dump, whatever the guest has got to",
      async () => {
        // From 2816 MiB on the chipset has 2 GiB below 4 GiB: there is room for crash memory above, and not much else.
        const append = "crashkernel=256M,high crashkernel=64M,low";
        await using guest = await lab!.bootLoaded({ ramMiB: 2816, crashkernelMiB: 0, nodes, append, load });
        await using others = await QemuGuest.open(guest.labQmpPath);
        await using machine = await QemuMachine.open(guest.qmpPath);
        const keeper = new Keeper(machine, nodeSha256);
        const { image } = await keeper.audit();
        expect(image?.crashMemory.ranges).toHaveLength(2);
        expect(image!.headerAddress).toBeGreaterThan(1n << 32n);

        const first = await others.plugDimm({ size: 2n * BLOCK });
        const ranges = [{ start: first.address, end: first.address + first.size }];
        // The guest has hardly begun with it.
        expect((await keeper.reconcile()).after.verdict).toBe("accurate");
        const base = ranges[0]!.end;
        // Next to it; one block further on; and far away.
        ranges.push(await plugAt(others, "near", BLOCK, base));
        ranges.push(await plugAt(others, "hole", 3n * BLOCK, base + 2n * BLOCK, nodes - 1));
        ranges.push(await plugAt(others, "far", 4n * BLOCK, base + (64n << 30n)));
        const { before, installed, after } = await keeper.reconcile();
        expect(before.missing.ranges).toEqual(RangeSet.of(ranges.slice(1)).ranges);
        expect(installed).toBeDefined();
        expect(after.verdict).toBe("accurate");
        const devices = parseMemoryDevices(await others.memoryDevices()).flatMap(({ range }) => range ?? []);
        expect(RangeSet.of(devices).ranges).toEqual(RangeSet.of(ranges).ranges);

        await waitUntilOnline(guest.agent, ranges);
        const offline = ranges[2]!.start + BLOCK;
        await guest.agent.output(`echo offline > /sys/devices/system/memory/memory${offline / BLOCK}/state`);
        // A block that is offline is backed all the same.
        expect((await keeper.reconcile()).installed).toBeUndefined();
        await fillMemory(guest.agent, 1750);
        const online = await onlineMemory(guest.agent);

        expect(await panic(guest)).toBe(true);
        const vmcore = await readVmcore(guest.agent);
        expect(online.subtract(vmcore!.described).ranges).toEqual([]);
        const pages: PageEvidence[] = [];
        const random = seededRandom(7);
        for (const range of ranges)
          pages.push(await comparePages(guest.agent, machine.memory, vmcore!, range, random));
        await guest.agent.finish("capture");
        for (const each of pages) expect(each).toMatchObject({ equal: each.sampled, unreadable: 0 });
        expect(pages.reduce((sum, { nonZero }) => sum + nonZero, 0)).toBeGreaterThan(100);
      },
    );
  },
);
