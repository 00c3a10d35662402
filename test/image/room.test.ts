/**
 * Rooms go from one pass to the next, and never to two at a time.
 * Compared by `===`: where `toBe` fails it first compares a MiB byte by byte, which takes half a minute.
 */
import { describe, expect, test } from "vitest";
import { KernelBytes } from "../../src/image/kernel-bytes.ts";
import { locateImage } from "../../src/image/locate.ts";
import { borrowRoom, ROOM_BYTES } from "../../src/image/room.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { FORMS, load } from "./fake-loaders.ts";
import { FakeKernel } from "./fake-machine.ts";
import { FakeMemory } from "./fake-memory.ts";

const memory = new FakeMemory(RangeSet.empty);

/** The room that the next one who asks is given. */
function next(): Uint8Array {
  using room = borrowRoom(memory);
  return room.bytes;
}

describe("a room", () => {
  test("is the next one's after it was given back", () => {
    const first = next();
    expect(first.length).toBe(ROOM_BYTES);
    expect(next() === first).toBe(true);
  });

  test("is nobody else's while it is lent", () => {
    const lent = Array.from({ length: 20 }, () => borrowRoom(memory));
    expect(new Set(lent.map(({ bytes }) => bytes)).size).toBe(20);
    for (const room of lent) room[Symbol.dispose]();
  });

  test("that is given back twice is lent once", () => {
    const room = borrowRoom(memory);
    room[Symbol.dispose]();
    room[Symbol.dispose]();
    using one = borrowRoom(memory);
    using other = borrowRoom(memory);
    expect(one.bytes === other.bytes).toBe(false);
  });

  test("of a slow machine is its own: an answer that comes late disturbs nobody", () => {
    const slow = Object.assign(new FakeMemory(RangeSet.empty), { isSlow: true });
    const room = borrowRoom(slow);
    room[Symbol.dispose]();
    using other = borrowRoom(slow);
    expect([other.bytes, next()].includes(room.bytes)).toBe(false);
  });

  test("is given back by who leaves a search before its end", async () => {
    const ram = RangeSet.of([{ start: 0n, end: BigInt(4 * ROOM_BYTES) }]);
    const mine = next();
    const span = new KernelBytes().span(new FakeMemory(ram), ram, 0n, 4 * ROOM_BYTES)!;
    for await (const { bytes } of span.windows()) {
      expect(bytes.buffer === mine.buffer).toBe(true);
      expect(next() === mine).toBe(false);
      break;
    }
    await expect(
      (async () => {
        for await (const _ of span.windows()) throw new Error("found what it looked for");
      })(),
    ).rejects.toThrow("found what");
    using one = borrowRoom(memory);
    using other = borrowRoom(memory);
    expect([one.bytes, other.bytes].includes(mine)).toBe(true);
  });
});

test("looks at several machines at a time find what each finds alone", async () => {
  const machines = FORMS.flatMap((form) => [1, 2, 3].map((cpus) => ({ form, cpus }))).map(
    ({ form, cpus }) => {
      const kernel = new FakeKernel({ cpus });
      load(kernel, form);
      return kernel;
    },
  );
  const alone = [];
  for (const kernel of machines) alone.push(await locateImage(kernel.memory, nodeSha256));
  expect(alone.map(({ found }) => found)).toEqual(machines.map(() => "image"));
  const together = await Promise.all(machines.map((kernel) => locateImage(kernel.memory, nodeSha256)));
  expect(together).toEqual(alone);
});
