/** Plugging with the header first: no instant outside the pause at which there is memory that is not described. */
import { describe, expect, test } from "vitest";
import { exitOfError } from "../../src/cli/exit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { plugMemory } from "../../src/keeper/plug.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { hotpluggableMemory } from "../../src/layout/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, unload } from "../image/fake-loaders.ts";
import { le64 } from "../image/fake-machine.ts";
import { armedWith, dump, FakeTarget, MIB, slots } from "./fake-target.ts";

const SIZE = 128n * MIB;
const keeperOf = (target: FakeTarget): Keeper => new Keeper(target, nodeSha256);

/** Looks at the machine at each of our reads while it runs, and says what was not described then. */
function watch(target: FakeTarget): readonly string[] {
  const seen: string[] = [];
  target.memory.onRead = () => {
    if (!target.running) return;
    const { view } = target;
    if (view.outcome !== "armed") seen.push(view.outcome);
    else {
      const missing = target.memory.ram
        .intersect(RangeSet.of([{ start: slots(0).start, end: 1n << 52n }]))
        .subtract(view.described);
      if (!missing.isEmpty) seen.push(missing.toString());
    }
  };
  return seen;
}

describe.each(FORMS)("with an image of form %s", (form: Form) => {
  test("each DIMM is described before the machine runs with it", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    const seen = watch(target);
    for (let i = 0; i < 3; i++) {
      const { id, size, after, bytesWritten, pauseMicroseconds } = await plugMemory(target, keeper, SIZE);
      expect({ id, size, pauseMicroseconds }).toEqual({
        id: `dimm${i}`,
        size: SIZE,
        pauseMicroseconds: 1000,
      });
      expect(bytesWritten).toBeGreaterThan(0);
      expect(after.verdict).toBe("accurate");
    }
    expect(seen).toEqual([]);
    expect(target.pauses).toBe(3);
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 3)]));
  });

  test("what was missing before is installed first", async () => {
    const target = new FakeTarget(form);
    target.add(slots(4));
    await plugMemory(target, keeperOf(target), SIZE);
    expect(dump(target)).toEqual(armedWith(target, [slots(4), slots(5)]));
  });

  test("a guest that loads another image right before the pause gets nothing plugged until it was looked at", async () => {
    const target = new FakeTarget(form);
    const seen = watch(target);
    target.beforePause.push(() => target.reload(form, { seed: 11 }));
    target.beforePause.push(() => target.reload(form === "load" ? "file" : "load"));
    const { after } = await plugMemory(target, keeperOf(target), SIZE);
    expect(after.verdict).toBe("accurate");
    expect(seen).toEqual([]);
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("a kernel that takes the DIMM out of its header again right after the pause gets it back", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    const audit = keeper.audit.bind(keeper);
    const before = target.memory.snapshot();
    let rewritten = 0;
    keeper.audit = async (signal) => {
      if (target.pauses === 1 && rewritten++ === 0) target.memory.restore(before);
      return await audit(signal);
    };
    const { after } = await plugMemory(target, keeper, SIZE);
    expect(rewritten).toBeGreaterThan(0);
    expect(after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("a guest that unloads its image right before the pause gets nothing plugged", async () => {
    const target = new FakeTarget(form);
    target.beforePause.push(() => unload(target.kernel));
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({ kind: "not-loaded" });
    expect(hotpluggableMemory(await target.layout()).isEmpty).toBe(true);
    expect(target.memory.writes).toEqual([]);
  });

  test("a device that cannot be plugged leaves header and machine as they were", async () => {
    const target = new FakeTarget(form);
    target.plugFails = true;
    const before = target.memory.snapshot();
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toThrow("no slot is free");
    expect(target.allocated).toBe(0);
    expect(target.memory.differences(before)).toEqual([]);
    expect(target.running).toBe(true);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("memory that cannot be given back is told beside what went wrong before", async () => {
    const target = new FakeTarget(form);
    target.plugFails = true;
    target.freeFails = true;
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toThrow(
      "no slot is free; the backend is left behind",
    );
  });

  test("an image that changes right before the pause is looked at again, with the memory that is allocated", async () => {
    const target = new FakeTarget(form);
    target.beforePause.push(() => target.reload(form));
    const { after } = await plugMemory(target, keeperOf(target), SIZE);
    expect(after.verdict).toBe("accurate");
    expect(target.allocated).toBe(0);
  });

  test("a write that fails with the device there is tried once more with the machine running", async () => {
    const target = new FakeTarget(form);
    let failures = 1;
    target.memory.onWrite = () => {
      if (failures-- > 0) throw new Error("a hiccup");
    };
    const { after, id } = await plugMemory(target, keeperOf(target), SIZE);
    expect(id).toBe("dimm0");
    expect(after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("writes that keep failing are reported with the device's name, and the image stays armed", async () => {
    const target = new FakeTarget(form);
    const tries = new Map<bigint, number>();
    target.memory.onWrite = ({ address }) => {
      // Every write of each attempt fails, its undoing works.
      const tried = tries.get(address) ?? 0;
      tries.set(address, tried + 1);
      if (tried % 2 === 0) throw new Error("no way");
    };
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({
      name: "UnfinishedPlugError",
      id: "dimm0",
      described: false,
      message: expect.stringContaining("dimm0 was plugged, but"),
    });
    expect(target.running).toBe(true);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("a machine that is lost with the device there is told as lost, and not asked again", async () => {
    const target = new FakeTarget(form);
    const lost = Object.assign(new Error("QEMU has ended"), { machineLost: true });
    target.afterPlug = () => {
      throw lost;
    };
    let reads = 0;
    target.afterPause.push(() => (target.memory.onRead = () => void reads++));
    const error: unknown = await plugMemory(target, keeperOf(target), SIZE).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ name: "UnfinishedPlugError", id: "dimm0", size: SIZE, cause: lost });
    expect(exitOfError(error)).toBe(128);
    expect(reads).toBe(0);
  });

  test("a query that fails right after the device was added does not lose sight of it", async () => {
    const target = new FakeTarget(form);
    let failures = 1;
    target.afterPlug = () => {
      if (failures-- > 0) throw new Error("QEMU's answer cannot be used");
    };
    const { id, after } = await plugMemory(target, keeperOf(target), SIZE);
    expect({ id, verdict: after.verdict }).toEqual({ id: "dimm0", verdict: "accurate" });
  });

  test("a look that fails after all was written says that it was", async () => {
    const target = new FakeTarget(form);
    target.afterPause.push(() => {
      target.memory.onRead = () => {
        throw new Error("We closed the connection");
      };
    });
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({
      name: "UnfinishedPlugError",
      described: true,
      message: "dimm0 was plugged and the header written, but then: We closed the connection",
    });
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("memory that Linux could not use is refused before anything is plugged", async () => {
    const target = new FakeTarget(form);
    for (const size of [0n, 3n, 64n * MIB, 129n * MIB])
      await expect(plugMemory(target, keeperOf(target), size)).rejects.toThrow(/blocks of 128 MiB/);
    // QEMU would put the next one right behind it.
    const { start } = slots(0);
    target.add({ start, end: start + 2n * MIB });
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({
      name: "PlugSizeError",
      message: expect.stringMatching(/does not end with a block of 128 MiB/),
    });
    expect(hotpluggableMemory(await target.layout()).bytes).toBe(2n * MIB);
  });

  test("a guest that has panicked gets nothing plugged", async () => {
    const target = new FakeTarget(form);
    target.kernel.fillCrashNote(0);
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({ kind: "panicking" });
    expect(target.pauses).toBe(0);
  });

  test("an image whose digest was not found gets nothing plugged", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(target.image.tableAddress, new Uint8Array(256));
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({
      message: expect.stringContaining("Nothing was plugged"),
    });
    expect(target.pauses).toBe(0);
    expect(hotpluggableMemory(await target.layout()).isEmpty).toBe(true);
  });

  test("a broken image gets nothing plugged", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(target.image.digestAddress, le64(1n));
    await expect(plugMemory(target, keeperOf(target), SIZE)).rejects.toMatchObject({ kind: "not-loaded" });
    expect(target.pauses).toBe(0);
  });
});

/** An image whose header has no room left, with a DIMM in every second place. */
const full = async (parameters?: string): Promise<{ target: FakeTarget; keeper: Keeper; room: number }> => {
  const target = new FakeTarget("file", parameters === undefined ? {} : { parameters });
  const keeper = keeperOf(target);
  const room = Math.floor((4096 - 64) / 56) - target.image.header.programHeaders.length;
  for (let i = 0; i < room; i++) target.add(slots(2 * i));
  await keeper.reconcile();
  return { target, keeper, room };
};

describe("a header without room for one more program header", () => {
  test("moves to where it has room before anything is plugged", async () => {
    const { target, keeper, room } = await full();
    // The highest DIMM is followed by a hole.
    target.add(slots(2 * room, 1));
    target.remove(slots(2 * room, 1));
    const old = (await keeper.audit()).image!;
    const { after } = await plugMemory(target, keeper, SIZE);
    expect(after.verdict).toBe("accurate");
    expect(after.image?.headerAddress).not.toBe(old.headerAddress);
    const devices = hotpluggableMemory(await target.layout());
    expect(dump(target)).toEqual(armedWith(target, devices.ranges));
    expect(devices.bytes).toBe(BigInt(room) * SIZE + SIZE);
  });

  test("gets nothing plugged where it cannot be moved", async () => {
    const { target, keeper, room } = await full("memmap=exactmap");
    await expect(plugMemory(target, keeper, SIZE)).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringMatching(/^Nothing was plugged\..*memmap=/),
    });
    expect(hotpluggableMemory(await target.layout()).ranges).toHaveLength(room);
  });
});
