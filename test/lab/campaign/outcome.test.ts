import { describe, expect, test } from "vitest";
import { causeOf, judgeTrial, type Seen } from "../../../src/lab/campaign/outcome.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";

const BOOT = RangeSet.of([{ start: 1n << 20n, end: 1n << 30n }]);
const DIMM = { start: 1n << 32n, end: (1n << 32n) + (1n << 28n) };
const WITH_DIMM = BOOT.union(RangeSet.of([DIMM]));
const COMPLETE: Seen = {
  captured: true,
  described: WITH_DIMM,
  online: WITH_DIMM,
  backed: WITH_DIMM,
  pages: [],
};
const PAGES = { range: DIMM, sampled: 16, nonZero: 16, equal: 16, different: 0, unreadable: 0 };

describe("a panic", () => {
  test("gives a complete dump where all that was online is described and equal", () => {
    const judged = judgeTrial({ ...COMPLETE, pages: [PAGES] });
    expect(judged).toMatchObject({ outcome: "complete", reasons: [] });
    expect(judged.missing.isEmpty).toBe(true);
    expect(judged.claimed.isEmpty).toBe(true);
  });

  test("gives a complete dump where more is described than was online yet", () => {
    expect(judgeTrial({ ...COMPLETE, online: BOOT }).outcome).toBe("complete");
  });

  test("gives an incomplete dump where a part that was online is not described", () => {
    const half = RangeSet.of([{ start: DIMM.start, end: DIMM.start + (1n << 27n) }]);
    const judged = judgeTrial({ ...COMPLETE, described: BOOT.union(half) });
    expect(judged.outcome).toBe("incomplete");
    expect(judged.missing.bytes).toBe(1n << 27n);
    expect(judged.reasons[0]).toContain("0x108000000-0x110000000 (128 MiB)");
  });

  test.each([
    ["cannot be read", { equal: 15, unreadable: 1 }],
    ["differ", { equal: 15, different: 1 }],
    ["prove nothing", { nonZero: 15 }],
  ])("gives an incomplete dump where pages %s", (words, counts) => {
    const judged = judgeTrial({ ...COMPLETE, pages: [{ ...PAGES, ...counts }] });
    expect(judged.outcome).toBe("incomplete");
    expect(judged.reasons).toHaveLength(1);
    expect(judged.reasons[0]).toContain(words);
  });

  test("gives an incomplete dump where it lacks the registers of a CPU that was online", () => {
    expect(judgeTrial({ ...COMPLETE, cpus: { online: 3, dumped: 3 } }).outcome).toBe("complete");
    const judged = judgeTrial({ ...COMPLETE, cpus: { online: 3, dumped: 2 } });
    expect(judged).toMatchObject({
      outcome: "incomplete",
      reasons: [expect.stringContaining("registers of 2 of 3 CPUs")],
    });
  });

  test("gives no dump where no capture kernel came up, or it has no vmcore", () => {
    const none = { ...COMPLETE, described: undefined };
    expect(judgeTrial({ ...none, captured: false })).toMatchObject({
      outcome: "no-dump",
      reasons: ["No capture kernel came up: why is not known"],
    });
    expect(judgeTrial(none)).toMatchObject({
      outcome: "no-dump",
      reasons: ["The capture kernel has no /proc/vmcore"],
    });
  });

  test.each([
    ["not-loaded", false, false, false],
    ["lock-held", true, true, false],
    ["lock-held", false, true, false],
    ["unknown", true, false, false],
    ["unknown", true, true, true],
  ] as const)("without a dump has the cause %s", (cause, image, locked, saved) => {
    expect(causeOf({ image, locked, saved })).toBe(cause);
  });

  test("tells what is claimed and gone, which makes no dump incomplete", () => {
    const judged = judgeTrial({ ...COMPLETE, online: BOOT, backed: BOOT });
    expect(judged.outcome).toBe("complete");
    expect(judged.claimed.bytes).toBe(1n << 28n);
  });
});
