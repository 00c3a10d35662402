/** The keeper on the simulated machine: what it makes of the header is proven by panics. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { programHeaderRoom } from "../../src/elfcore/header.ts";
import { cpuNotes } from "../../src/elfcore/kinds.ts";
import { type Audit, auditMachine } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { plugMemory } from "../../src/keeper/plug.ts";
import { plugCpu } from "../../src/keeper/plug-cpu.ts";
import { dimmsNamed, unplugMemory } from "../../src/keeper/unplug.ts";
import { unplugCpu } from "../../src/keeper/unplug-cpu.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import type { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { playRemoval, type RemovalStage } from "../keeper/removal-scenario.ts";
import { BLOCK, dumpOf, places, targetOf } from "../simulation/sim.ts";

const MACHINES = ["5.10", "6.1", "6.12", "6.1,load=kexec_load", "6.12,load=kexec_load"];
const keeperOf = (target: SimulatedTarget): Keeper => new Keeper(target, nodeSha256);

describe.each(MACHINES)("%s", (text) => {
  test("is accurate when loaded, and found with what its loader left", async () => {
    const target = targetOf(text);
    const { verdict, image, warnings } = await auditMachine(target, nodeSha256);
    const { header, digest } = target.machine.image!;
    expect({ verdict, warnings }).toEqual({ verdict: "accurate", warnings: [] });
    expect(image).toMatchObject({
      loaded: "yes",
      headerAddress: header.start,
      headerCapacity: Number(header.end - header.start),
    });
    const covers = text !== "6.12";
    expect(image!.digest).toMatchObject(
      covers ? { state: "covers-header", address: digest } : { state: "excludes-header" },
    );
  });

  test("is not loaded once unloaded", async () => {
    const target = targetOf(text);
    target.machine.unload();
    expect((await auditMachine(target, nodeSha256)).verdict).toBe("not-loaded");
  });

  test("is broken where a panic would hang", async () => {
    const target = targetOf(text);
    target.machine.memory.poke(target.machine.image!.digest, new Uint8Array(32));
    expect((await auditMachine(target, nodeSha256)).verdict).toBe("broken");
    expect(target.machine.panic().kind).toBe("hang");
  });

  test("gives a dump without the new DIMM before keep, and with all of it after", async () => {
    const target = targetOf(text);
    const { machine } = target;
    machine.plugDimm(2n * BLOCK);
    const mark = places(1).end - 4096n;
    machine.memory.poke(mark, Uint8Array.of(1, 2, 3, 4));
    // 6.12 looks after images of kexec_file_load itself.
    const handled = text === "6.12";
    const bytes = Uint8Array.of(1, 2, 3, 4);
    expect(machine.judge().outcome).toBe(handled ? "complete" : "incomplete");
    expect(dumpOf(machine.panic()).readPhysical(mark, 4)).toEqual(handled ? bytes : undefined);
    const { after } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("accurate");
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
    expect(dumpOf(machine.panic()).readPhysical(mark, 4)).toEqual(bytes);
  });

  test("claims a removed DIMM before keep, and not after", async () => {
    const target = targetOf(text);
    const keeper = keeperOf(target);
    target.machine.plugDimm(BLOCK);
    await keeper.reconcile();
    target.machine.unplug("dimm0");
    expect(target.machine.judge().stale).toEqual(RangeSet.of([places(0)]));
    await keeper.reconcile();
    expect(target.machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
  });

  test("has a complete dump when it runs on after a plug, header first", async () => {
    const target = targetOf(text);
    const { after, pauseMicroseconds } = await plugMemory(target, keeperOf(target), BLOCK);
    expect(after.verdict).toBe("accurate");
    expect(pauseMicroseconds).toBeUndefined();
    expect(target.machine.running).toBe(true);
    expect(target.machine.judge().outcome).toBe("complete");
  });

  test("has only header, region table and digest changed by keep", async () => {
    const target = targetOf(`${text},manual-online`);
    const { machine } = target;
    machine.plugDimm(BLOCK);
    const { header, table, digest, segments, controlPages } = machine.image!;
    const copy = machine.memory.fork();
    await keeperOf(target).reconcile();
    for (const { start, end } of [...segments, controlPages]) {
      const before = copy.peek(start, Number(end - start));
      machine.memory.peek(start, Number(end - start)).forEach((byte, i) => {
        if (byte === before[i]) return;
        const address = start + BigInt(i);
        const allowed =
          (address >= header.start && address < header.end) ||
          (address >= table && address < table + 256n) ||
          (address >= digest && address < digest + 32n);
        expect({ address, allowed }).toEqual({ address, allowed: true });
      });
    }
  });
});

type Step =
  | "plug"
  | "plug first"
  | "unplug"
  | "we unplug"
  | "pin"
  | "reload"
  | "online"
  | "pause"
  | "cpu"
  | "cpu first"
  | "cpu gone";

describe("property", () => {
  test("with keep after every change, every dump is complete and claims nothing false", async () => {
    const steps: fc.Arbitrary<readonly Step[]> = fc.array(
      fc.constantFrom(
        "plug",
        "plug first",
        "unplug",
        "we unplug",
        "pin",
        "reload",
        "online",
        "pause",
        "cpu",
        "cpu first",
        "cpu gone",
      ),
      { maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...MACHINES), fc.boolean(), steps, async (text, manual, list) => {
        const target = targetOf(manual ? `${text},manual-online` : text);
        const { machine } = target;
        const keeper = keeperOf(target);
        for (const step of list) {
          if (step === "plug first") await plugMemory(target, keeper, BLOCK);
          else if (step === "plug") machine.plugDimm(BLOCK);
          else if (step === "unplug" && machine.dimms[0]) machine.requestRemoval(machine.dimms[0].id);
          else if (step === "pin" && machine.dimms[0]) machine.pin(machine.dimms[0].id);
          else if (step === "we unplug" && machine.dimms[0]) {
            const [dimm] = await dimmsNamed(target, [machine.dimms[0].id]);
            await unplugMemory(target, keeper, dimm!, 1000);
          } else if (step === "reload") machine.load({ call: machine.image!.call, seed: 31 });
          else if (step === "online") machine.online();
          else if (step === "cpu" && machine.cpus.present < 8) machine.addCpu();
          else if (step === "cpu first" && machine.cpus.present < 8) await plugCpu(target, keeper);
          else if (step === "cpu gone" && machine.cpus.present > 2) machine.removeCpu();
          else if (step === "pause") await target.paused(async () => machine.plugDimm(2n * BLOCK));
          await keeper.reconcile();
          expect(machine.judge()).toEqual({
            outcome: "complete",
            missing: RangeSet.empty,
            stale: RangeSet.empty,
            missingCpus: 0,
          });
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});

test("Ctrl-C permits no further pause, and the machine runs on", async () => {
  const target = targetOf("6.1,dimm=128M");
  await target.interrupt();
  await expect(keeperOf(target).reconcile()).rejects.toThrow("nothing was written");
  expect(target.machine.running).toBe(true);
});

test("a pause within a pause is no pause of its own, and the machine hears of a DIMM when the outer one ends", async () => {
  const target = targetOf("6.12");
  await target.paused(async () => {
    const dimm = await target.allocateDimm(BLOCK);
    const { microseconds } = await target.paused(async () => await dimm.plug(() => undefined));
    expect(microseconds).toBeUndefined();
    expect(target.machine.dimms[0]?.added).toBe(false);
  });
  expect(target.machine.dimms[0]?.added).toBe(true);
});

test("a hot-added CPU is missing, and named", async () => {
  const target = targetOf("6.1,cpu");
  expect((await auditMachine(target, nodeSha256)).cpus).toMatchObject({
    present: 3,
    described: 2,
    possible: 8,
    missing: ["/machine/peripheral/cpu2"],
  });
  expect((await auditMachine(targetOf("6.12,cpu"), nodeSha256)).verdict).toBe("accurate");
});

describe.each(MACHINES)("CPUs of %s", (text) => {
  test("that somebody adds are in the dump after keep, and those that go are no harm", async () => {
    const target = targetOf(text);
    const { machine } = target;
    const keeper = keeperOf(target);
    machine.addCpu();
    machine.addCpu();
    // 6.12 lists all possible CPUs itself where it makes the header.
    expect(machine.judge().missingCpus).toBe(text === "6.12" ? 0 : 2);
    const { after } = await keeper.reconcile();
    expect(after).toMatchObject({
      verdict: "accurate",
      cpus: { present: 4, described: 8, possible: 8, undescribed: [] },
    });
    expect(machine.judge()).toMatchObject({ outcome: "complete", missingCpus: 0 });
    expect(dumpOf(machine.panic()).cpus).toBe(4);
    const [cpu] = (await target.removableCpus()).slice(-1);
    const removed = await unplugCpu(target, keeper, cpu!, 1000);
    expect(removed).toMatchObject({ answer: { answer: "removed" }, after: { verdict: "accurate" } });
    expect(removed.after.cpus).toMatchObject({ present: 3, described: 8 });
    expect(dumpOf(machine.panic()).cpus).toBe(3);
  });

  test("have their notes in the header that Linux 6.6 would make, in its order", async () => {
    const target = targetOf(text);
    const { after } = await keeperOf(target).reconcile();
    const { base, stride } = target.machine.blueprint.crashNotes;
    expect(cpuNotes(after.image!.header).map(({ p_paddr }) => p_paddr)).toEqual(
      Array.from({ length: 8 }, (_, cpu) => base + BigInt(cpu) * stride),
    );
  });

  test("are plugged with their note in the header before", async () => {
    const target = targetOf(text);
    const { id, after } = await plugCpu(target, keeperOf(target));
    expect(id).toBe("cpu2");
    expect(after.verdict).toBe("accurate");
    expect(dumpOf(target.machine.panic()).cpus).toBe(3);
  });
});

function roomOf({ image }: Audit): number {
  return programHeaderRoom(image!.headerCapacity) - image!.header.programHeaders.length;
}

describe("a header without room for all possible CPUs", () => {
  test("leaves room for memory, and moves before a CPU is plugged", async () => {
    const target = targetOf("6.1,possible=64");
    const keeper = keeperOf(target);
    const { after } = await keeper.reconcile();
    expect(roomOf(after)).toBe(32);
    expect(after.cpus.described + after.cpus.undescribed.length).toBe(64);
    const plugged = await plugCpu(target, keeper);
    expect(plugged.after).toMatchObject({ verdict: "accurate", cpus: { present: 3, described: 64 } });
    expect(plugged.after.image!.headerAddress).not.toBe(after.image!.headerAddress);
    expect(roomOf(plugged.after)).toBeGreaterThan(32);
    expect(target.machine.judge()).toMatchObject({ outcome: "complete", missingCpus: 0 });
  });

  test("moves where CPUs are there that it has no room for, and memory with it", async () => {
    // In holes, so that each DIMM takes a program header: kexec_file_load leaves room for 72.
    const target = targetOf("6.1,possible=16,slots=160");
    const { machine } = target;
    const keeper = keeperOf(target);
    plugWithHoles(machine, 55);
    expect((await keeper.reconcile()).after.image!.headerAddress).toBe(machine.image!.header.start);
    while (machine.cpus.present < 16) machine.addCpu();
    plugWithHoles(machine, 1, 55);
    expect(machine.judge().missingCpus).toBeGreaterThan(0);
    const { before, after } = await keeper.reconcile();
    expect(before.cpus).toMatchObject({ present: 16 });
    expect(after).toMatchObject({ verdict: "accurate", cpus: { described: 16, undescribed: [] } });
    expect(after.image!.headerAddress).not.toBe(machine.image!.header.start);
    expect(machine.judge()).toMatchObject({ outcome: "complete", missingCpus: 0 });
    expect((await keeper.reconcile()).installed).toBeUndefined();
  });
});

/** DIMMs of one block in every second place from `first` on, taken by the kernel. */
function plugWithHoles(machine: SimulatedMachine, count: number, first = 0): void {
  for (let i = first; i < first + count; i++) {
    const id = machine.insertDimm(BLOCK, places(2 * i).start);
    machine.addDimm(id);
    machine.online(id);
  }
}

test("crash memory above 4 GiB is found and kept too", async () => {
  const target = targetOf("6.1,ram=5G,crash=32M,high,dimm=128M");
  const { after } = await keeperOf(target).reconcile();
  expect(after.verdict).toBe("accurate");
  expect(target.machine.judge().outcome).toBe("complete");
});

/** The stage of a simulated machine: what goes on in it is complete at once. */
function stageOf(target: SimulatedTarget): RemovalStage {
  const { machine } = target;
  return {
    machine: target,
    plug: async (blocks, kind) => {
      const name = machine.plugDimm(BigInt(blocks) * BLOCK);
      if (kind === "in use") machine.pin(name);
      return { name, range: machine.dimms.find(({ id }) => id === name)!.range };
    },
    offlineLastBlock: async ({ name, range }) => {
      machine.setBlock(name, Number((range.end - range.start) / BLOCK) - 1, false);
      if (machine.kernel.name === "6.12" && machine.image!.call === "kexec_file_load")
        machine.handleMemoryEvent();
    },
    removeByOthers: async ({ name }) => machine.unplug(name),
  };
}

describe("unplug", () => {
  test.each(MACHINES)("%s plays the story of removals as a guest does", async (text) => {
    const target = targetOf(text);
    const { uncorrected, gone, kept } = await playRemoval(stageOf(target));
    // Nobody's handler is called once a DIMM is gone: the header still has it, also 6.12's own.
    expect(uncorrected).toMatchObject({ verdict: "inaccurate", stale: RangeSet.of([gone.ranges[0]!]) });
    expect(target.machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
    const { described } = dumpOf(target.machine.panic());
    expect(described.intersect(gone)).toEqual(RangeSet.empty);
    expect(described.covers(kept)).toBe(true);
  });

  test.each(MACHINES)("%s gives a DIMM up, and the header is true afterwards", async (text) => {
    const target = targetOf(`${text},dimm=256M,dimm=128M`);
    const keeper = keeperOf(target);
    const [dimm] = await dimmsNamed(target, ["dimm0"]);
    const { answer, after, staleMicroseconds } = await unplugMemory(target, keeper, dimm!, 1000);
    expect({ answer, staleMicroseconds }).toEqual({ answer: { answer: "removed" } });
    expect(after.verdict).toBe("accurate");
    expect(target.machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
    expect(dumpOf(target.machine.panic()).described.overlaps(dimm!.range)).toBe(false);
  });

  test.each(MACHINES)(
    "%s refuses one that is in use, brings its blocks back, and describes it",
    async (text) => {
      const target = targetOf(`${text},dimm=512M,pin=dimm0`);
      const [dimm] = await dimmsNamed(target, ["dimm0"]);
      const { answer, after } = await unplugMemory(target, keeperOf(target), dimm!, 1000);
      expect(answer.answer).toBe("refused");
      expect(after.verdict).toBe("accurate");
      expect(target.machine.dimms[0]!.online.size).toBe(4);
      expect(target.machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
      expect(() => target.machine.unplug("dimm0")).toThrow(/in use/);
    },
  );

  test("a machine that stands still is not asked", async () => {
    const target = targetOf("6.1,dimm=128M");
    const [dimm] = await dimmsNamed(target, ["dimm0"]);
    const answer = await target.paused(() => dimm!.remove(1000, () => expect.unreachable()));
    expect(answer.value.answer).toBe("refused");
  });
});
