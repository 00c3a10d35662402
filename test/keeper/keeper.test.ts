/** Reconcile: what is installed, what is left alone, and a guest that acts in between. */
import { describe, expect, test } from "vitest";
import { isRam } from "../../src/elfcore/kinds.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { ImageError } from "../../src/image/error.ts";
import type { RunningHash } from "../../src/image/hash.ts";
import { MemoryAccessError } from "../../src/image/memory.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, unload } from "../image/fake-loaders.ts";
import { CRASH, PLACES, text } from "../image/fake-machine.ts";
import { armedWith, dump, FakeTarget, slots } from "./fake-target.ts";

const keeperOf = (target: FakeTarget): Keeper => new Keeper(target, nodeSha256);

describe.each(FORMS)("with an image of form %s", (form: Form) => {
  test("memory that was added is described after one reconcile, within one pause", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.add(slots(4));
    const before = target.memory.snapshot();
    const { before: was, after, installed } = await keeperOf(target).reconcile();
    expect(was.verdict).toBe("inaccurate");
    expect(was.missing.ranges).toEqual([slots(0), slots(4)]);
    expect(after.verdict).toBe("accurate");
    expect(installed?.pauseMicroseconds).toBe(1000);
    expect(target.pauses).toBe(1);
    expect(dump(target)).toEqual(armedWith(target, [slots(0), slots(4)]));
    expectOnlyHeaderAndDigestChanged(target, before);
  });

  test("adjacent DIMMs become one PT_LOAD", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    for (let i = 0; i < 5; i++) {
      target.add(slots(i));
      if (i % 2 === 0) await keeper.reconcile();
    }
    const { image } = await keeper.audit();
    expect(
      image!.header.programHeaders.filter((ph) => isRam(ph) && ph.p_paddr >= slots(0).start),
    ).toHaveLength(1);
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 5)]));
  });

  test("a second reconcile changes nothing and pauses nothing", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    target.add(slots(1));
    await keeper.reconcile();
    const before = target.memory.snapshot();
    const { installed } = await keeper.reconcile();
    expect(installed).toBeUndefined();
    expect(target.pauses).toBe(1);
    expect(target.memory.differences(before)).toEqual([]);
  });

  test("many installs in a row give a right digest each time, removal included", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    for (const slot of [2, 8, 5]) {
      target.add(slots(slot));
      await keeper.reconcile();
    }
    expect(dump(target)).toEqual(armedWith(target, [slots(2), slots(5), slots(8)]));
    target.remove(slots(5));
    const { after } = await keeper.reconcile();
    expect(after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(2), slots(8)]));
    // What a longer header leaves behind is cleared, as a loader would have it.
    const used = 64 + 56 * after.image!.header.programHeaders.length;
    const rest = target.memory.peek(target.image.headerAddress + BigInt(used), 224);
    expect(rest.every((byte) => byte === 0)).toBe(true);
  });

  test("the hash of another image is not used for the one that the guest has loaded since", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    target.add(slots(0));
    await keeper.reconcile();
    target.reload(form, { seed: 1234 });
    await keeper.reconcile();
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
    target.reload(form);
    target.add(slots(3));
    await keeper.reconcile();
    expect(dump(target)).toEqual(armedWith(target, [slots(0), slots(3)]));
  });

  test("a hash that is taken while the guest loads another image is refused, and not kept", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    target.add(slots(0));
    const { image } = await keeper.audit();
    target.reload(form, { seed: 55 });
    const prepared = await keeper.prepare(image!).catch((error: unknown) => error);
    const kind = prepared instanceof ImageError ? prepared.kind : "nothing to hash";
    expect(kind).toBe(form === "file-6.6" ? "nothing to hash" : "changed");
    // The first image comes back, byte for byte: what was hashed meanwhile must not be taken for its hash.
    target.reload(form);
    await keeper.reconcile();
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("a guest that loads another image right before the pause is looked at again", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.beforePause.push(() => target.reload(form, { seed: 4321 }));
    target.beforePause.push(() => target.reload(form, { seed: 99, kimage: PLACES.kimage + 0x400n }));
    target.beforePause.push(() => target.reload(form === "load" ? "file" : "load"));
    const { after } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("a guest that changes its header right before the pause is looked at again", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.beforePause.push(() => target.reload(form, { extraRam: [slots(0)] }));
    const { after, installed } = await keeperOf(target).reconcile();
    expect(installed).toBeUndefined();
    expect(after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("nothing is written once the guest has unloaded the image or is replacing it", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.beforePause.push(() => unload(target.kernel));
    const { after } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("not-loaded");
    expect(target.memory.writes).toEqual([]);
    expect(target.running).toBe(true);
  });

  test("a guest that has panicked is told of, and neither paused nor written to", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.kernel.fillCrashNote(0);
    const { after, installed } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("unknown");
    expect(installed).toBeUndefined();
    expect(target.pauses).toBe(0);
    expect(target.memory.writes).toEqual([]);
  });

  test("nothing is written into a guest that is panicking already", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.beforePause.push(() => target.kernel.fillCrashNote(1));
    await expect(keeperOf(target).reconcile()).rejects.toMatchObject({ kind: "panicking" });
    expect(target.memory.writes).toEqual([]);
    expect(target.running).toBe(true);
  });

  test("a write that fails is undone, and the image stays armed with the old header", async () => {
    for (let failing = 0; failing < 3; failing++) {
      const target = new FakeTarget(form);
      target.add(slots(0));
      let writes = 0;
      target.memory.onWrite = ({ address, length }) => {
        if (writes++ === failing)
          throw new MemoryAccessError("write", address, length, "the socket was closed");
      };
      const before = target.memory.snapshot();
      const outcome = await keeperOf(target)
        .reconcile()
        .catch((error: unknown) => error);
      if (writes <= failing) continue;
      expect(outcome).toBeInstanceOf(MemoryAccessError);
      expect(target.memory.differences(before)).toEqual([]);
      expect(dump(target)).toEqual(armedWith(target, []));
      expect(target.running).toBe(true);
    }
  });

  test("a write that cannot be undone either is said to leave the image half written", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    let writes = 0;
    target.memory.onWrite = () => {
      if (writes++ > 0) throw new Error("gone");
    };
    await expect(keeperOf(target).reconcile()).rejects.toMatchObject({ kind: "half-written" });
    expect(target.running).toBe(true);
  });

  test("a guest that undoes our write at once is not called accurate", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    for (let i = 0; i < 5; i++) target.afterPause.push(() => target.reload(form));
    await expect(keeperOf(target).reconcile()).rejects.toMatchObject({ kind: "changed" });
    expect(target.running).toBe(true);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("an image whose digest does not match is left alone", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.memory.poke(target.image.digestAddress, Uint8Array.of(1, 2, 3, 4, 5));
    const { after, installed } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("broken");
    expect(installed).toBeUndefined();
    expect(target.memory.writes).toEqual([]);
    expect(target.pauses).toBe(0);
  });

  test("an image that a keeper knows is hashed once for a header, after it, and once for a verdict", async () => {
    const target = new FakeTarget(form);
    let hashed = 0;
    const counting = (hash: RunningHash): RunningHash => ({
      update: (bytes) => {
        hashed += bytes.length;
        return counting(hash.update(bytes));
      },
      copy: () => counting(hash.copy()),
      digest: () => hash.digest(),
    });
    const keeper = new Keeper(target, () => counting(nodeSha256()));
    const { image } = await keeper.audit();
    const whole = hashed;
    expect(whole).toBeGreaterThan(32 * 1024);
    await keeper.prepare(image!);
    hashed = 0;
    let before = 0;
    target.beforePause.push(() => (before = hashed));
    target.add(slots(0));
    expect((await keeper.reconcile()).after.verdict).toBe("accurate");
    const header = form === "file-6.6" ? 0 : image!.headerCapacity;
    expect(before).toBe(header);
    expect(hashed).toBe(header + whole);
    hashed = 0;
    expect((await keeper.reconcile()).after.verdict).toBe("accurate");
    expect(hashed).toBe(whole);
  });

  test("a segment that is overwritten under a keeper that knows the image breaks its verdict", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    await keeper.audit();
    target.memory.poke(target.image.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3, 4, 5));
    expect((await keeper.reconcile()).after.verdict).toBe("broken");
    expect(target.memory.writes).toEqual([]);
    target.add(slots(0));
    const { after } = await keeper.reconcile();
    expect(after.verdict).toBe("broken");
    expect(target.memory.writes).toEqual([]);
  });

  test("an overwritten segment that is met with memory to add is told of as soon as that is described", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    const { image } = await keeper.audit();
    await keeper.prepare(image!);
    target.memory.poke(target.image.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3, 4, 5));
    target.add(slots(0));
    expect((await keeper.reconcile()).after.verdict).toBe("broken");
    expect(dump(target).outcome).not.toBe("armed");
  });

  test("an image of which nothing says whether it is loaded is left alone", async () => {
    const target = new FakeTarget(form);
    target.add(slots(0));
    target.memory.poke(PLACES.name, text("Nothing here\0"));
    const { after, installed } = await keeperOf(target).reconcile();
    expect(after.verdict).toBe("unknown");
    expect(installed).toBeUndefined();
    expect(target.memory.writes).toEqual([]);
  });
});

describe.each(["file", "load"] satisfies Form[])("a header of form %s that outgrows its segment", (form) => {
  const MANY = 300;
  const all = Array.from({ length: MANY }, (_, i) => slots(2 * i));

  test("moves in one pause, grows there, and loses there what is gone", async () => {
    const target = new FakeTarget(form);
    const keeper = keeperOf(target);
    for (const range of all) target.add(range);
    const { before, after, installed } = await keeper.reconcile();
    expect(after.verdict).toBe("accurate");
    expect(after.image?.headerAddress).not.toBe(before.image?.headerAddress);
    expect(installed?.writes.map(({ what }) => what)).toContain("command-line");
    expect(target.pauses).toBe(1);
    expect(dump(target)).toEqual(armedWith(target, all));
    target.add(slots(2 * MANY));
    const next = await keeper.reconcile();
    expect(next.after.image?.headerAddress).toBe(after.image?.headerAddress);
    expect(next.installed?.writes.map(({ what }) => what)).toEqual(["header", "digest"]);
    expect(dump(target)).toEqual(armedWith(target, [...all, slots(2 * MANY)]));
    for (const range of all.slice(10)) target.remove(range);
    expect((await keeper.reconcile()).after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, [...all.slice(0, 10), slots(2 * MANY)]));
    // Another keeper finds it too.
    expect((await keeperOf(target).audit()).verdict).toBe("accurate");
  });

  test("is left where it is while nothing was written, and is armed, whichever write fails", async () => {
    for (let failing = 0; failing < 6; failing++) {
      const target = new FakeTarget(form);
      for (const range of all) target.add(range);
      let writes = 0;
      target.memory.onWrite = ({ address, length }) => {
        if (writes++ === failing)
          throw new MemoryAccessError("write", address, length, "the socket was closed");
      };
      const before = target.memory.snapshot();
      await expect(keeperOf(target).reconcile()).rejects.toBeInstanceOf(MemoryAccessError);
      expect(target.memory.differences(before)).toEqual([]);
      expect(dump(target)).toEqual(armedWith(target, []));
      expect(target.running).toBe(true);
    }
  });

  test("is not moved in an image that the guest replaces right before the pause, but in the next one", async () => {
    const target = new FakeTarget(form);
    for (const range of all) target.add(range);
    target.beforePause.push(() => target.reload(form, { seed: 4321 }));
    expect((await keeperOf(target).reconcile()).after.verdict).toBe("accurate");
    expect(dump(target)).toEqual(armedWith(target, all));
  });

  test("stays where it is where there is no place, which is told before the machine is paused", async () => {
    const target = new FakeTarget(form, { parameters: "memmap=exactmap" });
    for (const range of all) target.add(range);
    await expect(keeperOf(target).reconcile()).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringContaining("the old header stays"),
    });
    expect(target.pauses).toBe(0);
    expect(target.memory.writes).toEqual([]);
    expect(dump(target)).toEqual(armedWith(target, []));
  });

  test("that has no place is looked at again without hashing the image each time", async () => {
    const target = new FakeTarget(form, { parameters: "memmap=exactmap" });
    let hashes = 0;
    const keeper = new Keeper(target, () => {
      hashes++;
      return nodeSha256();
    });
    await keeper.audit();
    for (const range of all) target.add(range);
    hashes = 0;
    for (let i = 0; i < 3; i++)
      await expect(keeper.update()).rejects.toMatchObject({ kind: "header-too-large" });
    expect(hashes).toBe(0);
  });
});

test("loads that the loader left apart are joined, as many as needed, before a header moves", async () => {
  const target = new FakeTarget("file");
  target.reload("file", { extraRam: Array.from({ length: 60 }, (_, i) => slots(i)), apart: true });
  const keeper = keeperOf(target);
  for (let i = 0; i < 60; i++) target.add(slots(i));
  expect((await keeper.audit()).verdict).toBe("accurate");
  const more = Array.from({ length: 10 }, (_, i) => slots(100 + 2 * i));
  for (const range of more) target.add(range);
  const { before, after } = await keeper.reconcile();
  expect(after.verdict).toBe("accurate");
  expect(after.image?.headerAddress).toBe(before.image?.headerAddress);
  expect(after.image?.header.programHeaders).toHaveLength(72);
  expect(dump(target)).toEqual(armedWith(target, [slots(0, 60), ...more]));
});

test("a keeper that knew the kernel before a reset finds the one after it", async () => {
  const target = new FakeTarget("file");
  const keeper = keeperOf(target);
  await keeper.audit();
  // The pointer's place and the crash memory's name are elsewhere in the new kernel.
  target.memory.poke(PLACES.imagePointer, new Uint8Array(8));
  const pointer = Buffer.alloc(8);
  pointer.writeBigUInt64LE(0xffff_9e3a_0000_0000n + PLACES.kimage);
  target.memory.poke(PLACES.imagePointer + 0x800n, pointer);
  const { verdict, image } = await keeper.audit();
  expect(verdict).toBe("accurate");
  expect(image?.kernel?.imagePointerAddress).toBe(PLACES.imagePointer + 0x800n);
});

function expectOnlyHeaderAndDigestChanged(target: FakeTarget, before: ReadonlyMap<number, Uint8Array>): void {
  const { headerAddress, headerCapacity, tableAddress, digestAddress, form } = target.image;
  const allowed: [bigint, number][] = [[headerAddress, headerCapacity]];
  if (form !== "file-6.6") allowed.push([tableAddress, 256], [digestAddress, 32]);
  for (const address of target.memory.differences(before)) {
    expect(address >= CRASH.start && address < CRASH.end).toBe(true);
    expect(allowed.some(([at, size]) => address >= at && address < at + BigInt(size))).toBe(true);
  }
}
