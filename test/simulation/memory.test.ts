/** Copies of a machine's memory: each panic happens to one, and must leave the machine as it was. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { RangeSet } from "../../src/layout/range-set.ts";
import { SparseMemory } from "../../src/simulation/memory.ts";

const PAGE = 4096;
const PAGES = 4;
const RAM = { start: 0n, end: BigInt(PAGES * PAGE) };
const SIZE = Number(RAM.end);

const seen = (memory: SparseMemory): Uint8Array => memory.peek(RAM.start, SIZE);

test("a copy keeps its bytes when the machine writes, and the machine its own when the copy does", () => {
  const machine = new SparseMemory(RangeSet.of([RAM]));
  machine.poke(0n, Uint8Array.of(1, 2, 3));
  const copy = machine.fork();
  machine.poke(1n, Uint8Array.of(9));
  copy.poke(2n, Uint8Array.of(8));
  copy.poke(BigInt(PAGE), Uint8Array.of(7));
  expect(machine.peek(0n, 3)).toEqual(Uint8Array.of(1, 9, 3));
  expect(copy.peek(0n, 3)).toEqual(Uint8Array.of(1, 2, 8));
  expect(machine.peek(BigInt(PAGE), 1)).toEqual(Uint8Array.of(0));
});

test("memory that the machine loses, and gets again empty, stays in a copy", () => {
  const machine = new SparseMemory(RangeSet.of([RAM]));
  machine.poke(0n, Uint8Array.of(1, 2));
  const copy = machine.fork();
  machine.remove({ start: 0n, end: BigInt(PAGE) });
  machine.add({ start: 0n, end: BigInt(PAGE) });
  machine.poke(1n, Uint8Array.of(5));
  expect(machine.peek(0n, 2)).toEqual(Uint8Array.of(0, 5));
  expect(copy.peek(0n, 2)).toEqual(Uint8Array.of(1, 2));
});

test("property: any writes, losses and copies of copies leave every memory with the bytes of a plain one", () => {
  const write = fc.record({
    which: fc.nat({ max: 7 }),
    at: fc.nat({ max: SIZE - 1 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: PAGE + 2 }),
  });
  const loss = fc.record({ which: fc.nat({ max: 7 }), page: fc.nat({ max: PAGES - 1 }) });
  const copy = fc.record({ which: fc.nat({ max: 7 }) });
  fc.assert(
    fc.property(fc.array(fc.oneof(write, write, loss, copy), { maxLength: 20 }), (steps) => {
      const pairs = [{ memory: new SparseMemory(RangeSet.of([RAM])), plain: new Uint8Array(SIZE) }];
      for (const step of steps) {
        const { memory, plain } = pairs[step.which % pairs.length]!;
        if ("bytes" in step) {
          memory.poke(BigInt(step.at), step.bytes);
          plain.set(step.bytes.subarray(0, SIZE - step.at), step.at);
        } else if ("page" in step) {
          const start = step.page * PAGE;
          const range = { start: BigInt(start), end: BigInt(start + PAGE) };
          memory.remove(range);
          memory.add(range);
          plain.fill(0, start, start + PAGE);
        } else {
          pairs.push({ memory: memory.fork(), plain: plain.slice() });
        }
      }
      for (const { memory, plain } of pairs) expect(Buffer.compare(seen(memory), plain)).toBe(0);
    }),
    { numRuns: 200 },
  );
});
