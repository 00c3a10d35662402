/** Was the header accurate then? Stories by hand: clocks that are set, keepers that are killed, entries that are lost. */
import { describe, expect, test } from "vitest";
import type { Entry, EntryBody } from "../../../src/keeper/journal/entry.ts";
import { type AccuracyAt, AccuracyQuestion } from "../../../src/keeper/journal/question.ts";
import { START, story, TARGET } from "./samples.ts";

const HASH = "ab".repeat(32);
const HEADER = { address: "0x2f000000", sha256: HASH, programHeaders: 9, cpuNotes: 2, described: [] };
const DIMM = { start: "0x100000000", end: "0x140000000" };

const started: EntryBody = { entry: "started", pid: 77, aliveEveryMs: 30_000, closedTorn: 0 };
const alive: EntryBody = { entry: "alive" };
const found: EntryBody = { entry: "found", target: TARGET };
const verdict = (word: string): Extract<EntryBody, { readonly entry: "verdict" }> => ({
  entry: "verdict",
  target: TARGET,
  verdict: word,
  reason: `because it is ${word}`,
  missing: [],
  stale: [],
  cpusMissing: [],
  header: HEADER,
});
const installed = (
  reactionMs: number | null,
  left: readonly (typeof DIMM)[] = [],
): Extract<EntryBody, { readonly entry: "installed" }> => ({
  entry: "installed",
  target: TARGET,
  intent: null,
  cause: { why: "reconcile", missing: [DIMM], stale: [] },
  before: HEADER,
  after: HEADER,
  writes: [],
  pauseMicroseconds: 900,
  durationMs: 10,
  reactionMs,
  left: { missing: left, stale: [], cpus: 0 },
});

/** @param clock seconds after START, as the clock showed them. */
function ask(entries: readonly Entry[], clock: number, target: string = TARGET): AccuracyAt {
  const question = new AccuracyQuestion(target, START + clock * 1000);
  for (const entry of entries) question.take(entry);
  return question.ask();
}

const QUIET = story("1.1", [
  [0, 0, started],
  [1, 1, found],
  [2, 2, verdict("accurate")],
  [30, 30, alive],
  [60, 60, alive],
  [70, 70, verdict("inaccurate")],
  [80, 80, installed(50)],
  [90, 90, alive],
]);

describe("a keeper that watches", () => {
  test.each([
    [2, "accurate", "accurate: because it is accurate"],
    [45, "accurate", "accurate: because it is accurate"],
    [1.5, "unknown", "had been found, and not been looked at yet"],
    [0.5, "unknown", "had said nothing of this target yet"],
    [75, "inaccurate", "inaccurate: because it is inaccurate"],
    [85, "accurate", "installed and read back at 2026-11-29T05:01:20.000Z"],
    [69, "unknown", "it was found inaccurate at 2026-11-29T05:01:10.000Z; since when is not known"],
    [67, "accurate", "because it is accurate"],
    [-1, "unknown", "the journal begins at 2026-11-29T05:00:00.000Z"],
    [91, "unknown", "the journal's last entry is of 2026-11-29T05:01:30.000Z"],
  ])("%d s after its start: %s", (clock, answer, reason) => {
    expect(ask(QUIET, clock)).toMatchObject({ answer, reason: expect.stringContaining(reason) });
  });

  test("an install says since when the header had been wrong", () => {
    const entries = story("1.1", [
      [0, 0, started],
      [1, 1, verdict("accurate")],
      [10, 10, installed(400)],
      [20, 20, installed(null)],
      [30, 30, alive],
    ]);
    expect(ask(entries, 9.7)).toMatchObject({
      answer: "inaccurate",
      reason: "the header lacked 0x100000000-0x140000000, until the install at 2026-11-29T05:00:10.000Z",
    });
    expect(ask(entries, 9.5).answer).toBe("accurate");
    expect(ask(entries, 10).answer).toBe("accurate");
    expect(ask(entries, 19.995).answer).toBe("inaccurate");
    expect(ask(entries, 19).answer).toBe("unknown");
    expect(ask(entries, 17).answer).toBe("accurate");
  });

  test("an entry that says when a look had found it otherwise is believed", () => {
    const entries = story("1.1", [
      [0, 0, started],
      [1, 1, verdict("accurate")],
      [30, 30, { ...verdict("broken"), sinceLookMs: 20_000 }],
      [40, 40, verdict("accurate")],
      [60, 60, { ...installed(null), sinceLookMs: 15_000 }],
      [70, 70, alive],
    ]);
    const answers = [9, 11, 29, 44, 46, 59].map((clock) => ask(entries, clock).answer);
    expect(answers).toEqual(["accurate", "unknown", "unknown", "accurate", "unknown", "unknown"]);
  });

  test("what could not be installed is not called accurate", () => {
    const entries = story("1.1", [
      [0, 0, started],
      [1, 1, installed(5, [DIMM])],
      [9, 9, { entry: "failed", target: TARGET, reason: "no room" }],
      [20, 20, { entry: "unreachable", target: TARGET, reason: "its socket is busy" }],
      [30, 30, alive],
    ]);
    expect(ask(entries, 5)).toMatchObject({
      answer: "inaccurate",
      reason: expect.stringContaining("lacked 0x100000000"),
    });
    expect(ask(entries, 15)).toMatchObject({ answer: "unknown", reason: expect.stringContaining("no room") });
    expect(ask(entries, 25)).toMatchObject({ answer: "unknown", reason: expect.stringContaining("busy") });
  });

  test("an install whose end is not known leaves nothing that is known, until a verdict comes", () => {
    const outcome: EntryBody = {
      entry: "outcome",
      target: TARGET,
      intent: { writer: "1.1", seq: 9 },
      result: "left-open",
      reason: "QEMU has ended",
      durationMs: 3,
    };
    const entries = story("1.1", [
      [0, 0, verdict("accurate")],
      [10, 10, outcome],
      [20, 20, verdict("accurate")],
      [30, 30, alive],
    ]);
    expect(ask(entries, 5).answer).toBe("accurate");
    expect(ask(entries, 15)).toMatchObject({
      answer: "unknown",
      reason: "an install ended as left-open, and no verdict came after that: QEMU has ended",
    });
    expect(ask(entries, 25).answer).toBe("accurate");
  });

  test("another target's entries say nothing of this one", () => {
    expect(ask(QUIET, 45, "qmp:/run/b.sock")).toEqual({
      answer: "unknown",
      reason: "the journal has no entry of this target",
      moments: 0,
    });
  });

  test.each(["broken", "not-loaded"])("%s is no", (word) => {
    const entries = story("1.1", [
      [0, 0, verdict(word)],
      [10, 10, alive],
    ]);
    expect(ask(entries, 5).answer).toBe("inaccurate");
  });
});

describe("nobody watches", () => {
  const KILLED = [
    ...story("1.1", [
      [0, 0, started],
      [1, 1, verdict("accurate")],
      [30, 30, alive],
    ]),
    ...story("2.2", [
      [0, 300, started],
      [1, 301, verdict("accurate")],
      [30, 330, alive],
      [40, 340, { entry: "stopped" }],
    ]),
    ...story("3.3", [
      [0, 400, started],
      [1, 401, verdict("accurate")],
    ]),
  ];
  test.each([
    [20, "accurate"],
    [30, "accurate"],
    [31, "unknown"],
    [299, "unknown"],
    [320, "accurate"],
    [370, "unknown"],
    [401, "accurate"],
  ])("at %d s: %s", (clock, answer) => {
    expect(ask(KILLED, clock).answer).toBe(answer);
  });

  test("a keeper's last moment is its own, also where all it said was in it", () => {
    const once = story("1.1", [
      [0, 0, started],
      [1, 1, verdict("accurate")],
      [1, 1, { entry: "stopped" }],
    ]);
    expect(ask(once, 1)).toMatchObject({ answer: "accurate", moments: 1 });
    expect(ask(once, 2).answer).toBe("unknown");
    expect(ask(KILLED, 340).answer).toBe("accurate");
  });

  test("it is said between what", () => {
    expect(ask(KILLED, 100).reason).toBe(
      "no keeper was watching then: nothing between 2026-11-29T05:00:30.000Z and 2026-11-29T05:05:00.000Z",
    );
  });

  test("a keeper that was stopped for an hour did not watch either", () => {
    const entries = story("1.1", [
      [0, 0, verdict("accurate")],
      [3600, 3600, alive],
    ]);
    expect(ask(entries, 1000)).toMatchObject({
      answer: "unknown",
      reason: expect.stringContaining("no sign of life for 3600 s"),
    });
  });

  test("entries that are missing, by their number or by their own word, make it unknown until the next one", () => {
    const entries = [
      ...story("1.1", [
        [0, 0, verdict("accurate")],
        [10, 10, alive],
      ]),
      ...story(
        "1.1",
        [
          [20, 20, alive],
          [30, 30, verdict("accurate")],
          [40, 40, alive],
        ],
        5,
      ),
    ];
    expect(ask(entries, 5).answer).toBe("accurate");
    expect(ask(entries, 15)).toMatchObject({
      answer: "unknown",
      reason: expect.stringContaining("3 entries are missing"),
    });
    expect(ask(entries, 25).answer).toBe("unknown");
    expect(ask(entries, 35).answer).toBe("accurate");
    const lost = story("1.1", [
      [0, 0, verdict("accurate")],
      [60, 60, { entry: "lost", count: 4, sinceUp: 40_000, reason: "ENOSPC" }],
      [70, 70, verdict("accurate")],
      [80, 80, alive],
    ]);
    expect(ask(lost, 30).answer).toBe("accurate");
    expect(ask(lost, 50)).toMatchObject({
      answer: "unknown",
      reason: expect.stringContaining("4 entries were lost (ENOSPC)"),
    });
    expect(ask(lost, 65).answer).toBe("unknown");
    expect(ask(lost, 75).answer).toBe("accurate");
  });
});

describe("a clock that is set", () => {
  test("back: what it showed twice is answered only where both agree", () => {
    const entries = story("1.1", [
      [0, 0, verdict("accurate")],
      [30, 30, alive],
      [60, 60, verdict("inaccurate")],
      // Set back by a minute between these two.
      [90, 30, alive],
      [100, 40, verdict("accurate")],
      [130, 70, alive],
    ]);
    // 5:00:10 was accurate, and may have been shown again before the clock reached 5:00:30 once more.
    expect(ask(entries, 10)).toMatchObject({ answer: "unknown", moments: 2 });
    // 5:00:50 was accurate first, and the second time too.
    expect(ask(entries, 50)).toMatchObject({ answer: "accurate", moments: 2 });
    // 5:00:35: accurate the first time, and inaccurate the second.
    expect(ask(entries, 35)).toMatchObject({
      answer: "unknown",
      moments: 2,
      reason: expect.stringMatching(/^the clock showed that time 2 times.*accurate \(.*; then inaccurate \(/),
    });
  });

  test("forward: what it never showed is not known", () => {
    const entries = story("1.1", [
      [0, 0, verdict("accurate")],
      [10, 3610, alive],
      [20, 3620, alive],
    ]);
    expect(ask(entries, 5).answer).toBe("accurate");
    expect(ask(entries, 3605).answer).toBe("accurate");
    expect(ask(entries, 1800)).toMatchObject({ answer: "unknown", moments: 0 });
  });

  test("a little, as time servers do, is no jump", () => {
    const entries = story("1.1", [
      [0, 0, verdict("accurate")],
      [30, 30.4, alive],
      [60, 59.8, alive],
    ]);
    for (const clock of [1, 30.1, 30.3, 59.7]) expect(ask(entries, clock).answer).toBe("accurate");
  });
});

test("the head of a rotated file stands for entries that are gone", () => {
  const [first, second] = story(
    "1.1",
    [
      [3600, 3600, verdict("accurate")],
      [3630, 3630, alive],
    ],
    500,
  );
  const repeated = { ...first!, seq: 3, repeats: { writer: "1.1", seq: 3 } };
  expect(ask([repeated, second!], 3610).answer).toBe("accurate");
});
