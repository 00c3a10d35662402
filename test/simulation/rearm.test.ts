/** Re-arms on the simulated machine, whose kernel takes control pages as a real one does and writes them wherever that is. */
import { describe, expect, test } from "vitest";
import { ImageError } from "../../src/image/error.ts";
import type { PhysicalMemory } from "../../src/image/memory.ts";
import { planRearm, type RearmHashes, type RearmPlan } from "../../src/image/rearm.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { cpuNote } from "../../src/simulation/kernel-data.ts";
import type { LoadCall } from "../../src/simulation/load.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { callOf, factsOf, Rearmer, tightMachine } from "./rearming.ts";
import { BLOCK, dumpOf, machineOf, places } from "./sim.ts";

const CASES: readonly (readonly [string, LoadCall])[] = [
  ["5.10", "kexec_file_load"],
  ["5.10", "kexec_load"],
  ["6.1", "kexec_file_load"],
  ["6.1", "kexec_load"],
  ["6.12", "kexec_file_load"],
  ["6.12", "kexec_load"],
];
const COMPLETE = { outcome: "complete", stale: RangeSet.empty };

/** DIMMs of one block in every second place from `first` on, taken by the kernel. */
function plugWithHoles(machine: SimulatedMachine, first: number, count: number): void {
  for (let i = first; i < first + count; i++) {
    const id = machine.insertDimm(BLOCK, places(2 * i).start);
    machine.addDimm(id);
    machine.online(id);
  }
}

/** SHA-256 of what lies in `range`: megabytes are not compared byte by byte. */
function bytesOf({ memory }: SimulatedMachine, { start, end }: PhysicalRange): string {
  const hash = nodeSha256().update(memory.peek(start, Number(end - start)));
  return Buffer.from(hash.digest()).toString("hex");
}

/** The same of all crash memory. */
function crashBytes(machine: SimulatedMachine): string {
  return bytesOf(machine, machine.blueprint.crashkRes!);
}

/** The largest part that the call did not list: kernel or initrd. */
function residualOf(plan: RearmPlan): PhysicalRange {
  const largest = plan.residual.toSorted((a, b) => b.size - a.size)[0]!;
  return { start: largest.address, end: largest.address + BigInt(largest.size) };
}

describe.each(CASES)("%s, loaded by %s", (kernel, call) => {
  test("hashes little where the image was hashed ahead of the change", async () => {
    const machine = machineOf(`${kernel},load=${call}`);
    const rearmer = new Rearmer(machine);
    let read = 0;
    const memory: PhysicalMemory = {
      ranges: async () => await machine.memory.ranges(),
      read: async (address, length) => {
        read += length;
        return await machine.memory.read(address, length);
      },
      write: () => expect.fail("nothing is to be written"),
    };
    const image = await rearmer.image();
    const plan = async (hashes?: RearmHashes): Promise<RearmPlan> =>
      await planRearm(memory, nodeSha256, image, image.header, factsOf(machine), { hashes });
    const { hashes, residual } = await plan();
    const cold = read;
    read = 0;
    await plan(hashes);
    const left = residual.reduce((sum, { size }) => sum + size, 0);
    expect(left).toBeGreaterThan(0);
    expect(read).toBeLessThanOrEqual(cold - left);
  });

  test("has a complete dump after a re-arm that lists little, and nothing is written before the call", async () => {
    const machine = machineOf(`${kernel},load=${call}`);
    const rearmer = new Rearmer(machine);
    machine.plugDimm(BLOCK);
    machine.addCpu();
    const crash = crashBytes(machine);
    const plan = await rearmer.plan();
    expect(crashBytes(machine)).toEqual(crash);
    expect(plan.segments.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(0x10_0000);
    expect(plan.segments.length).toBeLessThan(machine.image!.segments.length);
    const residual = bytesOf(machine, residualOf(plan));
    await rearmer.call(plan);
    expect(await rearmer.verify(plan)).toEqual({ state: "armed" });
    expect(bytesOf(machine, residualOf(plan))).toEqual(residual);
    expect(machine.judge()).toMatchObject(COMPLETE);
    machine.memory.poke(places(0).start, Uint8Array.of(1, 2, 3));
    expect(dumpOf(machine.panic()).readPhysical(places(0).start, 3)).toEqual(Uint8Array.of(1, 2, 3));
    // Who comes later, without what was learned here, understands the image that the call has left.
    const image = await new Rearmer(machine).image();
    expect(image).toMatchObject({ loaded: "yes", digest: { value: plan.digest.value } });
    machine.unplug("dimm0");
    await new Rearmer(machine).rearm();
    expect(machine.judge()).toMatchObject(COMPLETE);
  });

  test("finds the image armed with the old header or the new one, or absent for as long as the call takes", async () => {
    const machine = machineOf(`${kernel},load=${call},manual-online`);
    const rearmer = new Rearmer(machine);
    machine.plugDimm(BLOCK);
    machine.online();
    const before = machine.judge();
    const plan = await rearmer.plan();
    expect(machine.judge()).toEqual(before);
    const seen: string[] = [];
    machine.kexecLoad(callOf(plan), (step) => seen.push(`${step}: ${machine.panic().kind}`));
    expect(seen[0]).toBe("dropped: no image");
    expect(seen.slice(1, -1).every((line) => line.endsWith(": no image"))).toBe(true);
    expect(seen.at(-1)).toBe("installed: vmcore");
    expect(machine.judge()).toMatchObject(COMPLETE);
    // Killed before it could verify: the next one finds the new header and has nothing to do.
    const next = await new Rearmer(machine).plan();
    expect(next.digest.value).toEqual(plan.digest.value);
    expect(await rearmer.verify(plan)).toEqual({ state: "armed" });
  });

  test("keeps its initrd where crash memory is nearly full, which a call of header and purgatory destroys", async () => {
    const machine = tightMachine(kernel, call, 2, ",la57,nogbpages");
    expect(machine.judge()).toMatchObject({ outcome: "complete" });
    machine.plugDimm(BLOCK);
    const rearmer = new Rearmer(machine);
    const plan = await rearmer.plan();
    const naive = {
      ...plan,
      segments: plan.segments.filter(
        ({ address, size }) =>
          address === plan.headerAddress || (address <= plan.entry && plan.entry < address + BigInt(size)),
      ),
    };
    expect(naive.segments).toHaveLength(2);
    expect(plan.segments.length).toBeGreaterThan(naive.segments.length + 1);

    const other = tightMachine(kernel, call, 2, ",la57,nogbpages");
    other.plugDimm(BLOCK);
    expect(other.kexecLoad(callOf(naive))).toBeUndefined();
    expect(other.panic()).toMatchObject({ kind: "hang", reason: expect.stringContaining("digest") });

    await rearmer.call(plan);
    expect(await rearmer.verify(plan)).toEqual({ state: "armed" });
    expect(machine.judge()).toMatchObject(COMPLETE);
    // And once more, over the image that the kernel knows in part.
    machine.plugDimm(BLOCK);
    await rearmer.rearm();
    expect(machine.judge()).toMatchObject(COMPLETE);
  });

  test("is told where what was not listed is damaged, so that a load in full can follow", async () => {
    const machine = machineOf(`${kernel},load=${call}`);
    const rearmer = new Rearmer(machine);
    const plan = await rearmer.rearm();
    const { start, end } = residualOf(plan);
    machine.memory.poke(start + 0x1234n, Uint8Array.of(~machine.memory.peek(start + 0x1234n, 1)[0]!));
    const outcome = await rearmer.verify(plan);
    expect(outcome).toMatchObject({ state: "broken", damaged: [{ start, end }] });
    expect(machine.panic().kind).toBe("hang");
    await expect(new Rearmer(machine).plan()).rejects.toMatchObject({ kind: "forged" });
    machine.load({ call });
    expect(machine.judge()).toMatchObject(COMPLETE);
  });

  test("is not re-armed where somebody loaded another image between plan and call", async () => {
    const machine = machineOf(`${kernel},load=${call}`);
    const rearmer = new Rearmer(machine);
    machine.plugDimm(BLOCK);
    const courses: readonly (() => Promise<unknown>)[] = [
      async () => machine.load({ call, seed: 8 }),
      async () => machine.unload(),
      async () => machine.load({ call: call === "kexec_load" ? "kexec_file_load" : "kexec_load" }),
      async () => new Rearmer(machine).rearm(),
    ];
    for (const meanwhile of courses) {
      machine.load({ call });
      const plan = await rearmer.plan();
      await meanwhile();
      const before = crashBytes(machine);
      await expect(rearmer.call(plan)).rejects.toMatchObject({ kind: "changed" });
      expect(crashBytes(machine)).toEqual(before);
    }
  });
});

describe.each(CASES.filter(([kernel, call]) => kernel !== "6.12" || call === "kexec_load"))(
  "%s, loaded by %s, with a header that outgrows its segment",
  (kernel, call) => {
    const many = call === "kexec_load" ? 300 : 80;
    /** The new place has room for twice as many as were needed, and not for these. */
    const tooMany = call === "kexec_load" ? 650 : 300;

    test("moves by a re-arm, is re-armed there, and again by whoever writes it from outside", async () => {
      const machine = machineOf(`${kernel},load=${call},slots=1400`);
      const rearmer = new Rearmer(machine);
      const first = machine.image!.header.start;
      plugWithHoles(machine, 0, many);
      const plan = await rearmer.rearm();
      expect(plan.headerAddress).not.toBe(first);
      expect(plan.segments.some(({ address }) => address === first)).toBe(false);
      expect(await rearmer.verify(plan)).toEqual({ state: "armed" });
      expect(machine.judge()).toMatchObject(COMPLETE);
      plugWithHoles(machine, many, 3);
      const next = await rearmer.rearm();
      expect(next.headerAddress).toBe(plan.headerAddress);
      expect(machine.judge()).toMatchObject(COMPLETE);

      // From outside: it must see, and spare, what the kernel does not list.
      const keeper = new Keeper(new SimulatedTarget("sim:rearm", machine), nodeSha256);
      plugWithHoles(machine, many + 3, tooMany);
      const residual = next.residual.map((r) => ({ start: r.address, end: r.address + BigInt(r.size) }));
      const bytes = residual.map((range) => bytesOf(machine, range));
      const { after } = await keeper.reconcile();
      expect(after.verdict).toBe("accurate");
      expect(after.image?.headerAddress).not.toBe(next.headerAddress);
      expect(residual.map((range) => bytesOf(machine, range))).toEqual(bytes);
      expect(machine.judge()).toMatchObject(COMPLETE);
      machine.plugDimm(BLOCK);
      await rearmer.rearm();
      expect(machine.judge()).toMatchObject(COMPLETE);
    });
  },
);

/** What must be the same after any number of re-arms. */
function shapeOf(plan: RearmPlan): unknown {
  return {
    segments: plan.segments.map(({ address, size }) => [address, size]),
    residual: plan.residual,
    regions: plan.digest.table.regions,
    header: plan.headerAddress,
  };
}

test(
  "a thousand re-arms in a row drift nowhere, and the panic after them is dumped completely",
  { timeout: 600_000 },
  async () => {
    const machine = machineOf("6.1,load=kexec_load");
    const rearmer = new Rearmer(machine);
    // The first one puts the header last in the table.
    machine.plugDimm(BLOCK);
    await rearmer.rearm();
    machine.unplug("dimm0");
    const second = await rearmer.rearm();
    const resident = machine.memory.residentBytes;
    const crash = crashBytes(machine);
    let last = second;
    for (let i = 0; i < 499; i++) {
      machine.plugDimm(BLOCK);
      await rearmer.rearm();
      machine.unplug("dimm0");
      last = await rearmer.rearm();
    }
    expect(shapeOf(last)).toEqual(shapeOf(second));
    expect(await rearmer.verify(last)).toEqual({ state: "armed" });
    expect(machine.memory.residentBytes).toBe(resident);
    expect(crashBytes(machine)).toEqual(crash);
    machine.plugDimm(BLOCK);
    await rearmer.rearm();
    expect(machine.judge()).toMatchObject(COMPLETE);
    expect((await new Rearmer(machine).image()).digest.state).toBe("covers-header");
  },
);

/** Why a re-arm is refused, and whether crash memory is as it was. */
async function refusal(machine: SimulatedMachine, facts = factsOf(machine)): Promise<unknown> {
  const before = crashBytes(machine);
  const error: unknown = await new Rearmer(machine).plan(facts).catch((thrown: unknown) => thrown);
  const kind = error instanceof ImageError ? error.kind : error;
  return { kind, untouched: crashBytes(machine) === before };
}

describe("a re-arm is refused", () => {
  test("where more page tables may be needed than crash memory has room for", async () => {
    const machine = machineOf("6.1,nogbpages");
    const mapped = [...factsOf(machine).mapped, { start: 0n, end: 5000n << 30n }];
    expect(await refusal(machine, { ...factsOf(machine), mapped })).toEqual({
      kind: "unsafe-rearm",
      untouched: true,
    });
  });

  test("where the memory that the kernel maps is not known", async () => {
    const machine = machineOf("6.1");
    expect(await refusal(machine, { ...factsOf(machine), mapped: [] })).toEqual({
      kind: "unsafe-rearm",
      untouched: true,
    });
  });

  test("where too much would have to be listed", async () => {
    const machine = tightMachine("6.1", "kexec_file_load", 2, ",la57,nogbpages");
    expect(await refusal(machine, { ...factsOf(machine), totalRam: 1n << 20n })).toEqual({
      kind: "unsafe-rearm",
      untouched: true,
    });
  });

  test("where the digest does not hold, or there is none", async () => {
    const machine = machineOf("6.1");
    machine.memory.poke(machine.image!.digest, new Uint8Array(32));
    expect(await refusal(machine)).toEqual({ kind: "forged", untouched: true });
    machine.memory.poke(machine.image!.table, new Uint8Array(256));
    expect(await refusal(machine)).toEqual({ kind: "forged", untouched: true });
  });

  test("where a panic is under way", async () => {
    const machine = machineOf("6.1");
    const { crashNotes } = machine.blueprint;
    machine.memory.poke(crashNotes.base, cpuNote(0));
    expect(await refusal(machine)).toEqual({ kind: "panicking", untouched: true });
  });
});

test("memory that was removed still takes page tables: told only of what is there, a re-arm would be thought safe", async () => {
  const machine = tightMachine("6.1", "kexec_file_load", 14, ",nogbpages");
  const far = machine.insertDimm(16n << 30n, 64n << 30n);
  machine.addDimm(far);
  machine.removeDimm(far);
  const rearmer = new Rearmer(machine);
  const told = { ...factsOf(machine), mapped: machine.blueprint.systemRam };
  const unsafe = await rearmer.plan(told);
  machine.kexecLoad(callOf(unsafe));
  expect(await rearmer.verify(unsafe)).toMatchObject({ state: "broken" });
  expect(machine.panic().kind).toBe("hang");
  const other = tightMachine("6.1", "kexec_file_load", 14, ",nogbpages");
  const again = other.insertDimm(16n << 30n, 64n << 30n);
  other.addDimm(again);
  other.removeDimm(again);
  await new Rearmer(other).rearm();
  expect(other.judge()).toMatchObject(COMPLETE);
});
