/** What a record says of any mixture of old and new bytes, and of bytes that are neither. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PlannedWrite } from "../../src/image/plan.ts";
import { recordWrites, spanState, withRuns, type WriteRecord } from "../../src/image/write-ahead.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";

/** Old and new bytes of one span, which differ in some of them. */
const write: fc.Arbitrary<PlannedWrite> = fc
  .tuple(
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 60 }),
  )
  .map(([before, changes]) => {
    const after = before.slice();
    for (const [at, byte] of changes) after[at % after.length] = byte;
    return { what: "header", address: 0x1000n, before, after };
  });

const record = (planned: PlannedWrite): WriteRecord => recordWrites([planned], nodeSha256)[0]!;

describe("for any write", () => {
  test("each mixture of its bytes is known as one, and leads to both sides", () => {
    fc.assert(
      fc.property(write, fc.infiniteStream(fc.boolean()), (planned, choices) => {
        const known = record(planned);
        const mixed = planned.before.map((byte, i) => (choices.next().value ? planned.after[i]! : byte));
        const differs = (side: Uint8Array): boolean => side.some((byte, i) => byte !== mixed[i]);
        const expected = !differs(planned.before) ? "before" : differs(planned.after) ? "mixed" : "after";
        expect(spanState(known, mixed, nodeSha256)).toBe(expected);
        expect(withRuns(known, mixed, "before")).toEqual(planned.before);
        expect(withRuns(known, mixed, "after")).toEqual(planned.after);
      }),
    );
  });

  test("a byte that is neither makes it foreign, wherever it is", () => {
    fc.assert(
      fc.property(write, fc.nat(), fc.nat({ max: 255 }), (planned, where, byte) => {
        const at = where % planned.after.length;
        fc.pre(byte !== planned.before[at] && byte !== planned.after[at]);
        for (const side of [planned.before, planned.after]) {
          const found = side.slice();
          found[at] = byte;
          expect(spanState(record(planned), found, nodeSha256)).toBe("foreign");
        }
      }),
    );
  });

  test("it keeps the bytes that change, and few others", () => {
    fc.assert(
      fc.property(write, (planned) => {
        const kept = record(planned).runs.reduce((sum, { after }) => sum + after.length, 0);
        const changed = planned.after.filter((byte, i) => byte !== planned.before[i]).length;
        expect(kept).toBeGreaterThanOrEqual(changed);
        expect(kept).toBeLessThanOrEqual(Math.max(0, 9 * changed));
      }),
    );
  });
});

test("a record that contradicts itself is good for nothing", () => {
  const planned: PlannedWrite = {
    what: "digest",
    address: 0n,
    before: Uint8Array.of(1, 2, 3),
    after: Uint8Array.of(1, 9, 3),
  };
  const good = record(planned);
  const run = { offset: 1, before: Uint8Array.of(2), after: Uint8Array.of(9) };
  expect(good.runs).toEqual([run]);
  const bad: readonly WriteRecord[] = [
    { ...good, length: 4 },
    { ...good, runs: [{ ...run, offset: 3 }] },
    { ...good, runs: [{ ...run, offset: -1 }] },
    { ...good, runs: [{ ...run, offset: 0.5 }] },
    { ...good, runs: [{ ...run, before: new Uint8Array(2) }] },
    { ...good, runs: [{ ...run, after: Uint8Array.of(8) }] },
    { ...good, runs: [] },
    { ...good, sha256After: good.sha256Before },
    { ...good, sha256Before: new Uint8Array(32) },
  ];
  for (const each of bad) expect(spanState(each, planned.before, nodeSha256)).toBe("foreign");
});
