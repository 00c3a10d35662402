import { describe, expect, test } from "vitest";
import type { Audit } from "../../src/keeper/audit.ts";
import type { WatchEvent } from "../../src/keeper/watch.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { OUTSIDE_INSTALLS, watchJson, watchText } from "../../src/report/watch.ts";

const AT = "2026-01-02T03:04:05.678Z";
const audit: Audit = {
  verdict: "inaccurate",
  reason: "A dump would lack \u001b[2J",
  image: undefined,
  layout: { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined },
  missing: RangeSet.of([{ start: 1n << 32n, end: (1n << 32n) + (1n << 30n) }]),
  stale: RangeSet.of([{ start: 1n << 33n, end: (1n << 33n) + (1n << 27n) }]),
  cpus: {
    present: 2,
    described: 2,
    possible: undefined,
    missing: [],
    undescribed: [],
    unknown: undefined,
  },
  warnings: ["it \u0007rings"],
};
const writes = [
  { what: "e_phnum", address: 0x38n, before: new Uint8Array(2), after: new Uint8Array(2) },
] as const;
const installed: WatchEvent = {
  kind: "installed",
  before: audit,
  installed: { writes, pauseMicroseconds: 1234 },
  reactionMs: 7.25,
};

describe("what a keeper did", () => {
  test("is one line for people, with when, where and how long", () => {
    expect(watchText("qmp:/a", AT, installed, OUTSIDE_INSTALLS)).toBe(
      `${AT} qmp:/a: installed: 0x100000000-0x140000000 (1 GiB) described; 0x200000000-0x208000000 (128 MiB) taken out; 2 bytes written; the guest stood still for 1.2 ms; 7.3 ms after the change was seen\n`,
    );
  });

  test("leaves out what was not measured", () => {
    const bare: WatchEvent = {
      ...installed,
      installed: { writes, pauseMicroseconds: undefined },
      reactionMs: undefined,
    };
    expect(watchText("sim:6.1", AT, bare, OUTSIDE_INSTALLS)).toMatch(
      /^\S+ sim:6\.1 \(simulated\): installed: .*; 2 bytes written\n$/,
    );
    expect(watchJson("sim:6.1", AT, bare, OUTSIDE_INSTALLS)).toMatchObject({
      simulated: true,
      reactionMs: null,
      installed: { pauseMicroseconds: null },
    });
  });

  test("shows nothing of a guest that could move the cursor", () => {
    const events: readonly WatchEvent[] = [
      { kind: "verdict", audit },
      { kind: "failed", error: new Error("no\u001b[2J") },
    ];
    for (const event of events)
      expect(watchText("qmp:/a\u001b", AT, event, OUTSIDE_INSTALLS)).toMatch(/^[\x20-\x7e]+\n$/);
  });

  test("is one document for programs", () => {
    expect(watchJson("qmp:/a", AT, installed, OUTSIDE_INSTALLS)).toMatchObject({
      schemaVersion: 1,
      target: "qmp:/a",
      at: AT,
      event: "installed",
      before: { verdict: "inaccurate" },
      installed: { pauseMicroseconds: 1234, writes: [{ what: "e_phnum", address: "0x38", bytes: 2 }] },
      reactionMs: 7.25,
    });
    expect(
      watchJson("qmp:/a", AT, { kind: "failed", error: new Error("x") }, OUTSIDE_INSTALLS),
    ).toMatchObject({
      event: "failed",
      error: "x",
    });
  });
});
