/** Headers that outgrow their segment, on real kernels: where control pages are, and dumps from a header that has moved. */
import { afterAll, describe, expect, test } from "vitest";
import { PAGE_SIZE } from "../../src/image/bytes.ts";
import { readControlPagesEnd } from "../../src/image/control-pages.ts";
import type { CaptureImage } from "../../src/image/locate.ts";
import { hasMoved } from "../../src/image/named-header.ts";
import type { PhysicalMemory } from "../../src/image/memory.ts";
import type { Audit } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import { KERNEL_SERIES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import {
  fillMemory,
  type LoadCall,
  loadCaptureKernel,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "../../src/lab/guest-actions.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { plugDimm } from "../../src/targets/qemu/plug.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Lab, openLab } from "./lab.ts";

const MIB = 1n << 20n;
const CALLS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
/** QEMU's hot-pluggable memory begins here in a guest of 1 GiB. */
const HOT = 4n << 30n;
/** The smallest DIMM that Linux takes, with a hole of the same size behind each. */
const DIMM = 128n * MIB;
const PITCH = 2n * DIMM;

const labs = new Map<KernelSeries, Lab>();
for (const series of KERNEL_SERIES) {
  const lab = await openLab(`headers that outgrow their segment on Linux ${series}`, series);
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

describe.each(KERNEL_SERIES)("Linux %s", (series) => {
  test.skipIf(!labs.has(series))(
    "writes nothing into crash memory above control_page but the segments",
    async () => {
      await using guest = await labs.get(series)!.boot();
      await using machine = await QemuMachine.open(guest.qmpPath);
      for (const load of CALLS) {
        await clearCrashMemory(guest, machine.memory);
        await loadCaptureKernel(guest.agent, { load, acpiNoMemhotplug: true });
        const { image } = await new Keeper(machine, nodeSha256).audit();
        const { crash, end } = await controlPages(machine.memory, image!);
        const others = RangeSet.of([crash]).subtract(segmentsOf(image!));
        const written = await pagesWithData(machine.memory, others);
        console.log(
          `${series} ${load}: crash memory ${RangeSet.of([crash]).toString()}, control pages end at 0x${end.toString(16)}, with data outside of segments: ${written.toString()}`,
        );
        // The last control page is a page table or the copy of VMCOREINFO, never empty: control_page is exact.
        expect(written.ranges.at(-1)?.end).toBe(end);
        expect(written.subtract(RangeSet.of([{ start: crash.start, end }])).ranges).toEqual([]);
      }
    },
  );
});

/** Linux >= 6.6 rewrites the header of a kexec_file_load image itself, in its old place: it is not moved. */
const MOVABLE = KERNEL_SERIES.flatMap((series) => CALLS.map((load) => ({ series, load }))).filter(
  ({ series, load }) => series !== "6.12" || load !== "kexec_file_load",
);

describe.each(MOVABLE)("Linux $series, loaded by $load", ({ series, load }) => {
  test.skipIf(!labs.has(series))(
    "dumps added memory from a header that was moved before it was needed",
    async () => {
      const { verdict, image } = await moveThenDump(series, load, "shared");
      expect(verdict).toBe("accurate");
      expect(hasMoved(image!)).toBe(true);
    },
  );
});

describe.skipIf(!labs.has("6.1"))("Linux 6.1, whose RAM is no shared file", () => {
  test("dumps added memory from a header that was moved through the gdbstub", async () => {
    const { verdict, image } = await moveThenDump("6.1", "kexec_file_load", "private");
    expect(verdict).toBe("accurate");
    expect(hasMoved(image!)).toBe(true);
  });
});

/** @returns the state before the panic. */
async function moveThenDump(series: KernelSeries, load: LoadCall, ram: "shared" | "private"): Promise<Audit> {
  await using guest = await labs.get(series)!.bootLoaded({ load, ram });
  await using machine = await QemuMachine.open(guest.qmpPath, { access: ram === "private" ? "gdb" : "auto" });
  await using lab = await QemuGuest.open(guest.labQmpPath);
  const keeper = new Keeper(machine, nodeSha256);
  const { image } = await keeper.audit();
  await keeper.makeRoom(image!);
  const pause = machine.guest.lastPauseMicroseconds;
  const moved = (await keeper.audit()).image!;
  expect(moved.headerAddress).not.toBe(image!.headerAddress);
  console.log(
    `${series} ${load}, ${ram} RAM: header moved from 0x${image!.headerAddress.toString(16)} to 0x${moved.headerAddress.toString(16)} (${moved.headerCapacity} bytes), pause ${pause} us; ${moved.commandLine?.text}`,
  );
  const dimms = await plugWithHoles(lab, 0, 2);
  await waitUntilOnline(guest.agent, dimms);
  await fillMemory(guest.agent, 256);
  const { after } = await keeper.reconcile();
  expect(after.image?.headerAddress).toBe(moved.headerAddress);
  await expectCompleteDump(guest, lab, dimms, 2);
  return after;
}

describe.skipIf(!labs.has("6.1"))("Linux 6.1 with more DIMMs than its header has room for", () => {
  const COUNT = 72;
  /** DIMMs in a row: without each second one they are as many PT_LOADs as half of them. */
  const ROW = 28;

  test("gives an incomplete dump without us", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded();
    await using lab = await QemuGuest.open(guest.labQmpPath);
    const dimms = await plugWithHoles(lab, 0, COUNT);
    await waitUntilOnline(guest.agent, dimms);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(guest.agent);
    expect(RangeSet.of(dimms).subtract(vmcore!.described).bytes).toBe(BigInt(COUNT) * DIMM);
  });

  test("gives a complete dump with us: alternate DIMMs go until the header moves, and it grows where it is then", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded();
    await using machine = await QemuMachine.open(guest.qmpPath);
    await using lab = await QemuGuest.open(guest.labQmpPath);
    await guest.agent.output("echo online_movable > /sys/devices/system/memory/auto_online_blocks");
    const keeper = new Keeper(machine, nodeSha256);
    const apart = await plugWithHoles(lab, 0, COUNT - 12);
    // One PT_LOAD until alternate ones of them are gone.
    const row = await plugInARow(lab, HOT + BigInt(apart.length) * PITCH, ROW);
    const inPlace = await keeper.reconcile();
    await waitUntilOnline(guest.agent, [...apart, ...row.map(({ range }) => range)]);
    const left = new Set(row);
    let move = inPlace;
    for (const [i, dimm] of row.entries()) {
      if (i % 2 === 0 || move.after.image?.headerAddress !== inPlace.after.image?.headerAddress) continue;
      await removeDimm(lab, dimm.id);
      left.delete(dimm);
      move = await keeper.reconcile();
      expect(move.after.verdict).toBe("accurate");
    }
    const more = await plugWithHoles(lab, apart.length + ROW, 2);
    const grown = await keeper.reconcile();
    const dimms = [...apart, ...[...left].map(({ range }) => range), ...more];
    console.log(`${ROW - left.size} of ${ROW} DIMMs in a row were removed`);
    for (const [what, { after, installed }] of Object.entries({ inPlace, move, grown })) {
      console.log(
        `${what}: ${after.image?.header.programHeaders.length} program headers at 0x${after.image?.headerAddress.toString(16)} (${after.image?.headerCapacity} bytes), ${installed?.writes.map(({ what: w, after: bytes }) => `${w} ${bytes.length}`).join(", ")}, pause ${installed?.pauseMicroseconds} us`,
      );
      expect(after.verdict).toBe("accurate");
    }
    expect(inPlace.after.image?.headerAddress).toBe(inPlace.before.image?.headerAddress);
    expect(move.after.image?.headerAddress).not.toBe(inPlace.after.image?.headerAddress);
    expect(move.after.image!.header.programHeaders.length).toBeGreaterThan(72);
    expect(grown.after.image?.headerAddress).toBe(move.after.image?.headerAddress);
    expect(grown.installed?.writes.map(({ what }) => what)).toEqual(["header", "digest"]);
    await waitUntilOnline(guest.agent, dimms);
    await fillMemory(guest.agent, 1024);
    await expectCompleteDump(guest, lab, dimms, 4);
  });
});

/** DIMMs of 128 MiB that touch each other, from `start` on. */
async function plugInARow(
  lab: QemuGuest,
  start: bigint,
  count: number,
): Promise<readonly { readonly id: string; readonly range: PhysicalRange }[]> {
  const dimms: { readonly id: string; readonly range: PhysicalRange }[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + BigInt(i) * DIMM;
    const { id } = await plugDimm(lab.qmp, { size: DIMM, address: at });
    dimms.push({ id, range: { start: at, end: at + DIMM } });
  }
  await lab.memory.refresh();
  return dimms;
}

async function removeDimm(lab: QemuGuest, id: string): Promise<void> {
  const gone = lab.qmp.waitForEvent("DEVICE_DELETED", { timeoutMs: 60_000 });
  gone.catch(() => undefined);
  await lab.qmp.execute("device_del", { id });
  await gone;
  await lab.memory.refresh();
}

/** Adds DIMMs of 128 MiB, a hole of the same size behind each: no two can be one PT_LOAD. */
async function plugWithHoles(lab: QemuGuest, from: number, count: number): Promise<readonly PhysicalRange[]> {
  const ranges: PhysicalRange[] = [];
  for (let i = from; i < from + count; i++) {
    const start = HOT + BigInt(i) * PITCH;
    await plugDimm(lab.qmp, { size: DIMM, address: start });
    ranges.push({ start, end: start + DIMM });
  }
  await lab.memory.refresh();
  return ranges;
}

/** Panics: all that is online is described, and pages of `dimms` that hold data are read through /proc/vmcore and are equal. */
async function expectCompleteDump(
  guest: LabGuest,
  lab: QemuGuest,
  dimms: readonly PhysicalRange[],
  compared: number,
): Promise<void> {
  const online = await onlineMemory(guest.agent);
  expect(RangeSet.of(dimms).subtract(online).ranges).toEqual([]);
  expect(await panic(guest)).toBe(true);
  const vmcore = await readVmcore(guest.agent);
  expect(vmcore).toBeDefined();
  expect(online.subtract(vmcore!.described).ranges).toEqual([]);
  // The guest fills some of them; pages without data prove nothing.
  const filled: PhysicalRange[] = [];
  for (const range of dimms.toReversed()) {
    const middle = await lab.memory.read(range.start + DIMM / 2n, PAGE_SIZE);
    if (filled.length < compared && middle.some((byte) => byte !== 0)) filled.push(range);
  }
  expect(filled).toHaveLength(compared);
  const random = seededRandom(20201214);
  for (const range of filled) {
    const { equal, nonZero } = await comparePages(guest.agent, lab.memory, vmcore!, range, random);
    expect(equal).toBe(PAGES_PER_DIMM);
    expect(nonZero).toBeGreaterThan(PAGES_PER_DIMM / 2);
  }
  await guest.agent.finish("capture");
}

/** Segments of the loaded image. */
function segmentsOf(image: CaptureImage): RangeSet {
  return RangeSet.of(
    image.kimage!.segments.map(({ address, size }) => ({ start: address, end: address + BigInt(size) })),
  );
}

async function controlPages(
  memory: PhysicalMemory,
  image: CaptureImage,
): Promise<{ readonly crash: PhysicalRange; readonly end: bigint }> {
  const crash = image.crashMemory.ranges.find(
    ({ start, end }) => start <= image.kimage!.entry && image.kimage!.entry < end,
  )!;
  const end = await readControlPagesEnd(memory, image.kimage!, image.kernel!.pageOffset!, crash);
  expect(end).toBeDefined();
  return { crash, end: end! };
}

/** Zeros in all of crash memory, from outside, with nothing loaded: what is there afterwards, the load wrote. */
async function clearCrashMemory(guest: LabGuest, memory: PhysicalMemory): Promise<void> {
  await guest.agent.run("kexec -p -u; kexec -s -p -u");
  const text = await guest.agent.output("grep 'Crash kernel' /proc/iomem");
  for (const [, first, last] of text.matchAll(/([0-9a-f]+)-([0-9a-f]+) :/g)) {
    const end = BigInt(`0x${last}`) + 1n;
    const zeros = new Uint8Array(16 * 1024 * 1024);
    for (let at = BigInt(`0x${first}`); at < end; at += BigInt(zeros.length))
      await memory.write(at, end - at < BigInt(zeros.length) ? zeros.subarray(0, Number(end - at)) : zeros);
  }
}

async function pagesWithData(memory: PhysicalMemory, where: RangeSet): Promise<RangeSet> {
  const found: PhysicalRange[] = [];
  const zeros = Buffer.alloc(PAGE_SIZE);
  for (const { start, end } of where) {
    for (let at = start; at < end; at += 4n * MIB) {
      const bytes = await memory.read(at, Number(end - at < 4n * MIB ? end - at : 4n * MIB));
      for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
        if (zeros.equals(bytes.subarray(page, page + PAGE_SIZE))) continue;
        const from = at + BigInt(page);
        found.push({ start: from, end: from + BigInt(PAGE_SIZE) });
      }
    }
  }
  return RangeSet.of(found);
}
