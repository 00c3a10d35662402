import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import {
  CONTROL,
  type Observation,
  poll,
  type PollPiece,
  type PollPlan,
} from "../../../src/lab/window/poll.ts";
import { sample, withFields } from "../../elfcore/samples.ts";
import { planOf, RAM_SIZE, WatchedRam } from "./ram.ts";

/** Other memory than boot RAM, from 64 KiB on. */
const ADDED: PollPiece = { path: "dimm", start: 0x10000n, end: 0x20000n, shift: -0x10000n };

interface Watched {
  readonly seen: Observation;
  readonly closed: readonly number[];
}

/** Polls while `steps` happen, one before each look; a look takes a millisecond. */
function watch(
  ram: WatchedRam,
  steps: readonly (() => void)[],
  plan: PollPlan = planOf(),
  dimm: Uint8Array = new Uint8Array(RAM_SIZE),
): Watched {
  const files: readonly Uint8Array[] = [ram.bytes, dimm];
  const closed: number[] = [];
  let now = 0;
  const seen = poll(plan, {
    open: (path) => (path === "ram" ? 0 : 1),
    read: (fd, into, length, position) => {
      const part = files[fd]!.subarray(position, position + length);
      into.set(part);
      return part.length;
    },
    close: (fd) => closed.push(fd),
    now: () => {
      // The first time is the start's.
      if (now > 0) steps[now - 1]?.();
      if (now === steps.length) Atomics.store(plan.control, CONTROL.stop, 1);
      return now++;
    },
    receive: () => [ADDED],
  });
  return { seen, closed };
}

describe("the watching loop", () => {
  test("writes down what changes, and when, and closes the file", () => {
    const ram = new WatchedRam();
    ram.load();
    const { seen, closed } = watch(ram, [
      () => undefined,
      () => ram.unload(),
      () => ram.lock(1n),
      () => ram.load(),
      () => ram.lock(0n),
      () => ram.pages(1001),
    ]);
    expect(seen.states).toEqual([
      { at: 1, image: true, locked: false },
      { at: 2, image: false, locked: false },
      { at: 3, image: false, locked: true },
      { at: 4, image: true, locked: true },
      { at: 5, image: true, locked: false },
    ]);
    expect(seen.pages).toEqual([
      { at: 1, pages: 1000 },
      { at: 6, pages: 1001 },
    ]);
    expect(seen.headers).toEqual([{ at: 1, bytes: encodeCoreHeader(sample) }]);
    expect(seen).toMatchObject({ start: 0, samples: 6, medianGapMs: 1, worstGapMs: 1 });
    expect(closed).toEqual([0]);
  });

  test("follows the header, also into another image", () => {
    const ram = new WatchedRam();
    const other = encodeCoreHeader(withFields(sample, 5, { p_memsz: 4096n }));
    ram.load();
    const { seen } = watch(ram, [
      () => undefined,
      () => ram.load(other),
      () => ram.unload(),
      () => ram.load(),
    ]);
    expect(seen.headers.map(({ at }) => at)).toEqual([1, 2, 4]);
    expect(seen.headers[1]?.bytes).toEqual(other);
  });

  test("takes a mutex for held where it has an owner, not for its flags", () => {
    const ram = new WatchedRam();
    const { seen } = watch(
      ram,
      [() => ram.lock(1n), () => ram.lock(0xffff_8880_0123_4567n), () => ram.lock(0n)],
      planOf({ lockKind: "mutex" }),
    );
    expect(seen.states.map(({ locked }) => locked)).toEqual([false, true, false]);
  });

  test("looks into memory that is added, where new images' structures lie", () => {
    const ram = new WatchedRam();
    ram.load();
    const plan = planOf();
    const dimm = Buffer.alloc(RAM_SIZE);
    dimm.set(WatchedRam.kimage(), 0x800);
    const { seen, closed } = watch(
      ram,
      [
        () => undefined,
        () => ram.unload(),
        () => ram.load(encodeCoreHeader(sample), 0x10800),
        () => Atomics.add(plan.control, CONTROL.pieces, 1),
        () => undefined,
      ],
      plan,
      dimm,
    );
    // Until it knows of that memory, there is no header to be seen.
    expect(seen.headers.map(({ at, bytes }) => [at, bytes.length])).toEqual([
      [1, encodeCoreHeader(sample).length],
      [3, 0],
      [4, encodeCoreHeader(sample).length],
    ]);
    expect(closed).toEqual([0, 1]);
  });

  test("tells how many pages there are while it runs", () => {
    const ram = new WatchedRam();
    const plan = planOf();
    watch(ram, [() => ram.pages(32768)], plan);
    expect(Atomics.load(plan.control, CONTROL.pages)).toBe(32768);
  });
});
