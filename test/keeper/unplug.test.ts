/** Removal: nothing that is there goes undescribed, and what is gone does not stay described. */
import { describe, expect, test } from "vitest";
import { exitOfError, isLeftHalfDone } from "../../src/cli/exit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import type { RemovableDimm } from "../../src/keeper/machine.ts";
import { devicesNamed, dimmsNamed, unplugMemory, type Unplugged } from "../../src/keeper/unplug.ts";
import { unplugCpu, type UnpluggedCpu } from "../../src/keeper/unplug-cpu.ts";
import { hotpluggableMemory } from "../../src/layout/machine.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, unload } from "../image/fake-loaders.ts";
import { UNITS } from "../image/fake-machine.ts";
import { armedWith, dump, FakeTarget, HOT, slots } from "./fake-target.ts";

const LIMIT = 1000;
const keeperOf = (target: FakeTarget): Keeper => new Keeper(target, nodeSha256);

async function only(target: FakeTarget, name: string): Promise<RemovableDimm> {
  return (await dimmsNamed(target, [name]))[0]!;
}

async function unplug(target: FakeTarget, name: string, keeper = keeperOf(target)): Promise<Unplugged> {
  return unplugMemory(target, keeper, await only(target, name), LIMIT);
}

/** Hot-added memory that is there and not described, at each read while the machine runs. */
function watchForGaps(target: FakeTarget): readonly string[] {
  const seen: string[] = [];
  target.memory.onRead = () => {
    if (!target.running) return;
    const { view } = target;
    if (view.outcome !== "armed") return void seen.push(view.outcome);
    const hot = target.memory.ram.intersect(RangeSet.of([{ start: HOT, end: 1n << 52n }]));
    const missing = hot.subtract(view.described);
    if (!missing.isEmpty) seen.push(missing.toString());
  };
  return seen;
}

/** A target with three DIMMs of a slot each that the header describes, as one PT_LOAD. */
async function withThree(form: Form): Promise<{ target: FakeTarget; keeper: Keeper }> {
  const target = new FakeTarget(form);
  for (const slot of [0, 1, 2]) target.add(slots(slot));
  const keeper = keeperOf(target);
  await keeper.reconcile();
  return { target, keeper };
}

describe.each(FORMS)("with an image of form %s", (form: Form) => {
  test.each([0, 1, 2])("DIMM %i of three goes, the others stay described all the time", async (index) => {
    const { target, keeper } = await withThree(form);
    const gaps = watchForGaps(target);
    const result = await unplug(target, `dimm${index}`, keeper);
    expect(result).toMatchObject({
      name: `dimm${index}`,
      range: slots(index),
      answer: { answer: "removed" },
      backend: { fate: "deleted" },
      staleMicroseconds: 1000,
      pauseMicroseconds: 1000,
      after: { verdict: "accurate" },
    });
    expect(gaps).toEqual([]);
    expect(dump(target)).toEqual(
      armedWith(
        target,
        [0, 1, 2].filter((slot) => slot !== index).map((slot) => slots(slot)),
      ),
    );
  });

  test("the header still describes the DIMM when the machine is asked, and when it is gone", async () => {
    const { target, keeper } = await withThree(form);
    const described: unknown[] = [];
    target.onRemoval = async ({ range }) => {
      described.push(dump(target).hot);
      target.remove(range);
      described.push(dump(target).hot);
      return { answer: "removed" };
    };
    await unplug(target, "dimm1", keeper);
    expect(described).toEqual([[slots(0, 3)], [slots(0, 3)]]);
  });

  test("a refused DIMM stays described, and nothing is written", async () => {
    const { target, keeper } = await withThree(form);
    target.onRemoval = async () => ({ answer: "refused", reason: "busy" });
    const before = target.memory.snapshot();
    const result = await unplug(target, "dimm1", keeper);
    expect(result).toMatchObject({
      answer: { answer: "refused", reason: "busy" },
      backend: undefined,
      staleMicroseconds: undefined,
      after: { verdict: "accurate" },
    });
    expect(target.memory.differences(before)).toEqual([]);
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 3)]));
  });

  test("one that does not answer stays described, and is corrected after it went late", async () => {
    const { target, keeper } = await withThree(form);
    target.onRemoval = async () => ({ answer: "pending", reason: "silence" });
    expect((await unplug(target, "dimm1", keeper)).answer.answer).toBe("pending");
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 3)]));
    target.remove(slots(1));
    expect((await keeper.audit()).stale).toEqual(RangeSet.of([slots(1)]));
    await keeper.reconcile();
    expect(dump(target)).toEqual(armedWith(target, [slots(0), slots(2)]));
  });

  test("one that goes right after the limit is told as gone, without a time that nobody measured", async () => {
    const { target, keeper } = await withThree(form);
    target.onRemoval = async ({ range }) => {
      target.remove(range);
      return { answer: "pending", reason: "silence" };
    };
    expect(await unplug(target, "dimm2", keeper)).toMatchObject({
      answer: { answer: "removed" },
      backend: { fate: "deleted" },
      staleMicroseconds: undefined,
    });
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 2)]));
  });

  test("what was missing or stale before is mended before anything is asked for", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.onRemoval = async () => {
      expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
      return { answer: "refused", reason: "busy" };
    };
    expect((await unplug(target, "dimm0")).after.verdict).toBe("accurate");
  });

  test("a guest that loads another image while it gives the DIMM up has that one corrected", async () => {
    const { target, keeper } = await withThree(form);
    target.onRemoval = async ({ range }) => {
      // Its loader still sees the DIMM, as one in the middle of a removal does.
      target.reload(form === "load" ? "file" : "load", { seed: 11 });
      await keeper.reconcile();
      target.remove(range);
      return { answer: "removed" };
    };
    expect((await unplug(target, "dimm0", keeper)).after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(1, 2)]));
  });

  test("a guest without a loaded image gives memory up as well", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    unload(target.kernel);
    const result = await unplug(target, "dimm0");
    expect(result).toMatchObject({ answer: { answer: "removed" }, after: { verdict: "not-loaded" } });
    expect(result.staleMicroseconds).toBeUndefined();
  });

  test("an image that could not be corrected afterwards is a reason to ask for nothing", async () => {
    for (const spoil of [
      (target: FakeTarget) => target.memory.poke(target.image.tableAddress, new Uint8Array(256)),
      (target: FakeTarget) => target.memory.poke(target.image.digestAddress, new Uint8Array(32)),
      (target: FakeTarget) => target.kernel.fillCrashNote(0),
    ]) {
      const { target, keeper } = await withThree(form);
      let asked = false;
      target.onRemoval = async () => ((asked = true), { answer: "removed" });
      spoil(target);
      await expect(unplug(target, "dimm1", keeper)).rejects.toThrow(/^Nothing was removed\. /);
      expect(asked).toBe(false);
    }
  });

  test("a removal that was asked for and not brought to its end says how far it came", async () => {
    const { target, keeper } = await withThree(form);
    const closed = Object.assign(new Error("We closed the connection"), { machineLost: true });
    target.onRemoval = () => Promise.reject(closed);
    const asked: unknown = await unplug(target, "dimm1", keeper).catch((error: unknown) => error);
    expect(asked).toMatchObject({ name: "UnfinishedRemovalError", stage: "asked", cause: closed });
    expect(String(asked)).toContain("may give it up at any time");

    target.onRemoval = async ({ range }) => {
      target.remove(range);
      target.memory.onRead = () => {
        throw closed;
      };
      return { answer: "removed" };
    };
    const removed: unknown = await unplug(target, "dimm1", keeper).catch((error: unknown) => error);
    expect(removed).toMatchObject({ name: "UnfinishedRemovalError", stage: "removed" });
    for (const error of [asked, removed]) {
      expect(isLeftHalfDone(error)).toBe(true);
      expect(exitOfError(error)).toBe(128);
    }
  });

  test("a backend that cannot be given back because the guest is lost is no half-done header", async () => {
    const { target, keeper } = await withThree(form);
    target.onRelease = () => Promise.reject(new Error("QEMU has ended"));
    const error: unknown = await unplug(target, "dimm0", keeper).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ stage: "corrected" });
    expect(isLeftHalfDone(error)).toBe(false);
    expect(dump(target)).toEqual(armedWith(target, [slots(1, 2)]));
  });
});

/** As many PT_LOADs as fit, the first of them of three DIMMs: without the middle one it becomes two. */
const full = async (parameters?: string): Promise<{ target: FakeTarget; keeper: Keeper }> => {
  const target = new FakeTarget("file", parameters === undefined ? {} : { parameters });
  const keeper = keeperOf(target);
  const room = Math.floor((4096 - 64) / 56) - target.image.header.programHeaders.length;
  for (const slot of [0, 1, 2]) target.add(slots(slot));
  for (let i = 1; i < room; i++) target.add(slots(3 + 2 * i));
  await keeper.reconcile();
  return { target, keeper };
};

describe("a removal that needs one program header more than there is room for", () => {
  test("has the header moved before anything is asked for", async () => {
    const { target, keeper } = await full();
    const before = (await keeper.audit()).image!.headerAddress;
    const seen: boolean[] = [];
    target.onRemoval = async ({ range }) => {
      seen.push((await keeper.audit()).image!.headerAddress !== before);
      target.remove(range);
      return { answer: "removed" };
    };
    const { after, answer } = await unplug(target, "dimm1", keeper);
    expect({ seen, answer, verdict: after.verdict }).toEqual({
      seen: [true],
      answer: { answer: "removed" },
      verdict: "accurate",
    });
    const { ranges } = hotpluggableMemory(await target.layout());
    expect(dump(target)).toEqual(armedWith(target, ranges));
  });

  test("is not asked for where the header cannot be moved", async () => {
    const { target, keeper } = await full("memmap=exactmap");
    let asked = false;
    target.onRemoval = async () => ((asked = true), { answer: "removed" });
    await expect(unplug(target, "dimm1", keeper)).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringMatching(/^Nothing was removed\. Without dimm1: /),
    });
    expect(asked).toBe(false);
    target.onRemoval = undefined;
    expect((await unplug(target, "dimm2", keeper)).after.verdict).toBe("accurate");
  });
});

/** A target with two CPUs that came after the load. */
function withCpus(form: Form): { target: FakeTarget; keeper: Keeper } {
  const target = new FakeTarget(form, {}, { units: UNITS });
  target.setCpus(4);
  return { target, keeper: keeperOf(target) };
}

async function unplugOneCpu(target: FakeTarget, name: string, keeper: Keeper): Promise<UnpluggedCpu> {
  const [cpu] = await devicesNamed(target, [name]);
  if (cpu?.kind !== "cpu") throw new Error(`${name} is no CPU`);
  return unplugCpu(target, keeper, cpu, LIMIT);
}

describe.each(FORMS)("a CPU, with an image of form %s", (form: Form) => {
  test("goes, and its note stays: the header gets the notes of all before, and is not touched after", async () => {
    const { target, keeper } = withCpus(form);
    target.onCpuRemoval = async () => {
      expect((await keeper.audit()).cpus).toMatchObject({ present: 4, described: 8, undescribed: [] });
      target.memory.writes.length = 0;
      target.setCpus(3);
      return { answer: "removed" };
    };
    const { answer, after } = await unplugOneCpu(target, "cpu3", keeper);
    expect(answer).toEqual({ answer: "removed" });
    expect(after).toMatchObject({ verdict: "accurate", cpus: { present: 3, described: 8 } });
    expect(target.memory.writes).toEqual([]);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("that is refused stays; one that goes after the limit is told as gone", async () => {
    const { target, keeper } = withCpus(form);
    target.onCpuRemoval = async () => ({ answer: "refused", reason: "busy" });
    expect(await unplugOneCpu(target, "cpu3", keeper)).toMatchObject({
      answer: { answer: "refused", reason: "busy" },
      after: { verdict: "accurate", cpus: { present: 4 } },
    });
    target.onCpuRemoval = async () => ({ answer: "pending", reason: "silence" });
    expect((await unplugOneCpu(target, "cpu3", keeper)).answer.answer).toBe("pending");
    target.onCpuRemoval = async () => ({ answer: "removed" });
    expect((await unplugOneCpu(target, "cpu3", keeper)).answer).toMatchObject({
      answer: "pending",
      reason: expect.stringContaining("still listed"),
    });
    target.onCpuRemoval = async () => (target.setCpus(3), { answer: "pending", reason: "silence" });
    expect((await unplugOneCpu(target, "cpu3", keeper)).answer).toEqual({ answer: "removed" });
  });

  test("that cannot go is not asked for, nor is any of a machine that has panicked", async () => {
    const { target, keeper } = withCpus(form);
    target.onCpuRemoval = () => expect.unreachable();
    expect((await unplugOneCpu(target, "cpu0", keeper)).answer).toEqual({
      answer: "refused",
      reason: "nothing was asked for: it has no id",
    });
    target.kernel.fillCrashNote(0);
    await expect(unplugOneCpu(target, "cpu3", keeper)).rejects.toMatchObject({ kind: "panicking" });
  });

  test("goes where nothing is loaded, too", async () => {
    const { target, keeper } = withCpus(form);
    unload(target.kernel);
    expect(await unplugOneCpu(target, "cpu3", keeper)).toMatchObject({
      answer: { answer: "removed" },
      after: { verdict: "not-loaded" },
    });
  });

  test("that was asked for and not heard of says that it may go, and no header is wrong then", async () => {
    const { target, keeper } = withCpus(form);
    const closed = Object.assign(new Error("We closed the connection"), { machineLost: true });
    target.onCpuRemoval = () => Promise.reject(closed);
    await expect(unplugOneCpu(target, "cpu3", keeper)).rejects.toMatchObject({
      name: "UnfinishedRemovalError",
      stage: "asked",
      message: expect.stringMatching(/^cpu3 .*at any time, which the header need not know/),
    });
    target.onCpuRemoval = async () => {
      target.setCpus(3);
      target.memory.onRead = () => {
        throw closed;
      };
      return { answer: "removed" };
    };
    const error: unknown = await unplugOneCpu(target, "cpu3", keeper).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      stage: "corrected",
      message: expect.stringMatching(/^cpu3 was removed, which the header need not know \(We/),
    });
    expect(isLeftHalfDone(error)).toBe(false);
  });
});

describe("names", () => {
  test("stand for DIMMs and CPUs, and those that cannot be removed are not listed", async () => {
    const { target } = withCpus("file");
    target.add(slots(0));
    const names = ["cpu2", "dimm0", "/machine/peripheral/cpu3", "cpu0"];
    const found = await devicesNamed(target, names);
    expect(found.map(({ kind, name }) => [kind, name])).toEqual([
      ["cpu", "cpu2"],
      ["dimm", "dimm0"],
      ["cpu", "cpu3"],
      ["cpu", "cpu0"],
    ]);
    await expect(devicesNamed(target, ["x"])).rejects.toThrow(
      /no DIMM or CPU "x"; these can be removed: dimm0 at \S+ \(128 MiB\), cpu2, cpu3$/,
    );
  });

  test("are ids or QEMU's paths, each device once", async () => {
    const target = new FakeTarget("file");
    for (const slot of [0, 1]) target.add(slots(slot));
    const names = ["dimm1", "/machine/peripheral/dimm0", "dimm1"];
    expect((await dimmsNamed(target, names)).map(({ name }) => name)).toEqual(["dimm1", "dimm0"]);
  });

  test("that are unknown give an error with those that are known, exit code 2", async () => {
    const target = new FakeTarget("file");
    const none: unknown = await dimmsNamed(target, ["x"]).catch((error: unknown) => error);
    expect(String(none)).toContain('no DIMM "x"; it has none at all');
    for (const slot of [0, 1]) target.add(slots(slot));
    const some: unknown = await dimmsNamed(target, ["dimm0", "x"]).catch((error: unknown) => error);
    expect(String(some)).toMatch(/these can be removed: dimm0 at 0x\w+-0x\w+ \(128 MiB\), dimm1 at /);
    expect(exitOfError(some)).toBe(2);
    for (let slot = 2; slot < 20; slot++) target.add(slots(slot));
    await expect(dimmsNamed(target, ["x"])).rejects.toThrow(/dimm15 at \S+ \(128 MiB\) and 4 more$/);
  });
});
