/** CPUs: the header is brought to one note for each possible CPU, once, and a CPU is plugged header first. */
import { describe, expect, test } from "vitest";
import { exitOfError } from "../../src/cli/exit.ts";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { cpuNotes, vmcoreinfoNote } from "../../src/elfcore/kinds.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { plugCpu } from "../../src/keeper/plug-cpu.ts";
import { hotpluggableMemory } from "../../src/layout/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, unload } from "../image/fake-loaders.ts";
import { CRASH_NOTES, PLACES, UNITS } from "../image/fake-machine.ts";
import { armedWith, dump, FakeTarget, slots } from "./fake-target.ts";

const keeperOf = (target: FakeTarget): Keeper => new Keeper(target, nodeSha256);
const targetOf = (form: Form, units: readonly bigint[] = UNITS): FakeTarget =>
  new FakeTarget(form, {}, { units });
const addresses = UNITS.map((unit) => unit + CRASH_NOTES);

describe.each(FORMS)("with an image of form %s", (form) => {
  test("the first reconcile adopts the header, in one pause, and the second changes nothing", async () => {
    const target = targetOf(form);
    target.setCpus(2);
    const keeper = keeperOf(target);
    const { before, after, installed } = await keeper.reconcile();
    expect(before).toMatchObject({ verdict: "accurate", cpus: { present: 2, described: 2, possible: 8 } });
    expect(before.cpus.undescribed.map(({ cpu }) => cpu)).toEqual([2, 3, 4, 5, 6, 7]);
    expect(installed?.writes.some(({ what }) => what === "header")).toBe(true);
    expect(after).toMatchObject({
      verdict: "accurate",
      cpus: { described: 8, undescribed: [], missing: [] },
    });
    expect(cpuNotes(after.image!.header).map(({ p_paddr }) => p_paddr)).toEqual(addresses);
    expect(vmcoreinfoNote(after.image!.header)?.p_paddr).toBe(PLACES.note);
    expect(dump(target)).toEqual(armedWith(target, []));
    expect((await keeper.reconcile()).installed).toBeUndefined();
    expect(target.pauses).toBe(1);
  });

  test("a CPU that somebody added is missing before, and not after, with memory in the same pause", async () => {
    const target = targetOf(form);
    target.setCpus(3);
    target.add(slots(0));
    const { before, after } = await keeperOf(target).reconcile();
    expect(before.verdict).toBe("inaccurate");
    expect(before.cpus.missing).toEqual(["/machine/peripheral/cpu2"]);
    expect(before.reason).toMatch(/lack the registers of 1 CPUs; kdump-hotplug keep corrects that/);
    expect(after.verdict).toBe("accurate");
    expect(target.pauses).toBe(1);
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("a CPU that was removed leaves its note, and the header stays true", async () => {
    const target = targetOf(form);
    const keeper = keeperOf(target);
    target.setCpus(4);
    await keeper.reconcile();
    target.setCpus(2);
    const { after, installed } = await keeper.reconcile();
    expect(installed).toBeUndefined();
    expect(after.verdict).toBe("accurate");
  });

  test("a guest that loads its capture kernel again gets the form again", async () => {
    const target = targetOf(form);
    const keeper = keeperOf(target);
    await keeper.reconcile();
    target.reload(form, { seed: 99 });
    expect((await keeper.reconcile()).after.cpus.described).toBe(8);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("a panic on a CPU that was not there at the load is seen, and nothing is written then", async () => {
    const target = targetOf(form);
    target.setCpus(3);
    const keeper = keeperOf(target);
    await keeper.reconcile();
    target.add(slots(0));
    target.beforePause.push(() => target.kernel.fillCrashNote(2));
    await expect(keeper.reconcile()).rejects.toMatchObject({ kind: "panicking" });
  });

  test("a CPU is plugged without a pause once its note is there", async () => {
    const target = targetOf(form);
    const keeper = keeperOf(target);
    const described: number[] = [];
    target.afterPlug = () => {
      const header = decodeCoreHeader(target.memory.peek(target.image.headerAddress, 4096));
      described.push(target.view.outcome === "armed" ? cpuNotes(header).length : 0);
    };
    const first = await plugCpu(target, keeper);
    expect(first).toMatchObject({ id: "cpu2", pauseMicroseconds: 1000, after: { verdict: "accurate" } });
    const second = await plugCpu(target, keeper);
    expect(second).toMatchObject({
      id: "cpu3",
      pauseMicroseconds: undefined,
      after: { verdict: "accurate" },
    });
    expect(described).toEqual([8, 8]);
    expect(target.pauses).toBe(1);
  });

  test("a guest that loads another image right when the CPU comes has it adopted afterwards", async () => {
    const target = targetOf(form);
    target.afterPlug = () => target.reload(form, { seed: 5 });
    const { after } = await plugCpu(target, keeperOf(target));
    expect(after).toMatchObject({ verdict: "accurate", cpus: { present: 3, described: 8 } });
  });

  test("no CPU is plugged where its note cannot be known, and what would help is said", async () => {
    const target = new FakeTarget(form);
    const error: unknown = await plugCpu(target, keeperOf(target)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: "UnknownCpuNoteError",
      message: expect.stringMatching(
        /^Nothing was plugged\. .* is not known: .*; a load of the capture kernel/,
      ),
    });
    expect(exitOfError(error)).toBe(3);
    expect((await target.layout()).cpus).toEqual([]);
  });

  test("no CPU is plugged that the guest's kernel would not take", async () => {
    const target = targetOf(form, UNITS.slice(0, 2));
    target.setCpus(2);
    const error: unknown = await plugCpu(target, keeperOf(target)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: "PlugSizeError",
      message: expect.stringContaining("takes 2 at most"),
    });
    expect(exitOfError(error)).toBe(2);
  });

  test("no CPU is plugged where nothing is loaded", async () => {
    const target = targetOf(form);
    unload(target.kernel);
    await expect(plugCpu(target, keeperOf(target))).rejects.toMatchObject({ kind: "not-loaded" });
    expect((await target.layout()).cpus).toEqual([]);
  });

  test("a slot that cannot be filled leaves an adopted header, which is true", async () => {
    const target = targetOf(form);
    target.plugFails = true;
    await expect(plugCpu(target, keeperOf(target))).rejects.toThrow("no slot is free");
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("an error after the CPU came says that it is there", async () => {
    const target = targetOf(form);
    target.afterPlug = () => {
      target.memory.onRead = () => {
        throw new Error("We closed the connection");
      };
    };
    await expect(plugCpu(target, keeperOf(target))).rejects.toMatchObject({
      name: "UnfinishedPlugError",
      id: "cpu2",
      size: undefined,
      described: true,
    });
  });
});

/** An image with a DIMM in every second place, and room for no more than one program header. */
const full = async (parameters?: string): Promise<{ target: FakeTarget; keeper: Keeper }> => {
  const options = parameters === undefined ? {} : { parameters };
  const target = new FakeTarget("file", options, { units: UNITS });
  const keeper = keeperOf(target);
  const room = Math.floor((4096 - 64) / 56) - target.image.header.programHeaders.length;
  for (let i = 0; i + 1 < room; i++) target.add(slots(2 * i));
  await keeper.reconcile();
  return { target, keeper };
};

describe("CPUs for which the header's segment has no room", () => {
  test("have it moved, in one pause, with the notes of all that may come", async () => {
    const { target, keeper } = await full();
    target.setCpus(4);
    target.pauses = 0;
    const { before, after } = await keeper.reconcile();
    expect(before).toMatchObject({ verdict: "inaccurate", cpus: { present: 4, described: 2 } });
    expect(after).toMatchObject({ verdict: "accurate", cpus: { described: 8, undescribed: [] } });
    expect(after.image!.headerAddress).not.toBe(before.image!.headerAddress);
    expect(target.pauses).toBe(1);
    expect((await keeper.reconcile()).installed).toBeUndefined();
    expect(dump(target)).toEqual(armedWith(target, hotpluggableMemory(await target.layout()).ranges));
  });

  test("get what room there is where it cannot be moved, memory first, and the rest is told", async () => {
    const { target, keeper } = await full("memmap=exactmap");
    target.setCpus(5);
    target.remove(slots(0));
    const { after } = await keeper.reconcile();
    expect(after).toMatchObject({ verdict: "inaccurate", cpus: { present: 5, described: 4 } });
    await expect(keeper.reconcile()).rejects.toMatchObject({ kind: "header-too-large" });
  });

  test("have it moved before one is plugged, and the pause is told", async () => {
    const { target, keeper } = await full();
    target.pauses = 0;
    const { after, pauseMicroseconds } = await plugCpu(target, keeper);
    expect(after).toMatchObject({ verdict: "accurate", cpus: { present: 3, described: 8 } });
    expect({ pauses: target.pauses, pauseMicroseconds }).toEqual({ pauses: 1, pauseMicroseconds: 1000 });
  });

  test("are not plugged where it cannot be moved", async () => {
    const { target, keeper } = await full("memmap=exactmap");
    await expect(plugCpu(target, keeper)).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringMatching(/^Nothing was plugged\..*memmap=/),
    });
    expect((await target.layout()).cpus).toEqual([]);
  });
});

test("an audit of a kernel whose table was not found says so, with what would make it known", async () => {
  const target = new FakeTarget("file");
  target.setCpus(3);
  const { cpus, reason } = await auditMachine(target, nodeSha256);
  expect(cpus).toMatchObject({ present: 3, described: 2, possible: undefined, undescribed: [] });
  expect(cpus.unknown).toMatch(
    /not known: the kernel's per-CPU table was not found.*; a load of the capture kernel/,
  );
  expect(reason).toContain("reload the capture kernel in the guest");
});
