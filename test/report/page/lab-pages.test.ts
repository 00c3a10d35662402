import { beforeAll, describe, expect, test } from "vitest";
import { Keeper } from "../../../src/keeper/keeper.ts";
import type { PolicyRunResult } from "../../../src/lab/policy-run.ts";
import type { ScenarioResult } from "../../../src/lab/scenario.ts";
import { describedMemory } from "../../../src/layout/described.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { labRunPage } from "../../../src/report/page/from-lab-run.ts";
import { policyRunsPage } from "../../../src/report/page/from-policy-run.ts";
import { page } from "../../../src/report/page/page.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../../src/targets/simulated/machine.ts";
import { parseTarget } from "../../../src/targets/target.ts";
import { RHEL7 } from "../a-policy-run.ts";

const PAGE = { command: "kdump-hotplug lab run", host: [] };
const RAN = { qemu: "10.0.2", kexecTools: "2.0.29", accelerator: "tcg" };
const IMPRINT = { version: "1", made: new Date(0) };

describe("the page of a lab run", () => {
  let results: readonly ScenarioResult[];
  beforeAll(async () => {
    const target = parseTarget("sim:6.1,dimm=1G");
    if (target.kind !== "sim") throw new TypeError("expected a simulated machine");
    const machine = SimulatedTarget.open(target.text, target.spec, nodeSha256);
    const { before, after } = await new Keeper(machine, nodeSha256).reconcile();
    const online = describedMemory(after.image!.header);
    const without = describedMemory(before.image!.header);
    const base = {
      scenario: {
        load: "kexec_file_load",
        way: "nothing",
        ramMiB: 2048,
        crashkernelMiB: 256,
        ram: "shared",
        dimmsMiB: [1024],
        acpiNoMemhotplug: true,
        seed: 1,
      },
      release: "6.1.0<script>",
      boots: 1,
      timings: { boot: 5000, load: 1000, plug: 900, fill: 800, keep: 0, capture: 4000, evidence: 700 },
      online,
      keeper: undefined,
      outcome: "incomplete",
      reasons: ["The dump does not describe 1 GiB"],
      inDump: without,
      missing: online.subtract(without),
      pages: [],
    } as const;
    results = [
      base,
      {
        ...base,
        scenario: { ...base.scenario, way: "in-place" },
        keeper: { access: "a shared file", before, after, pauseMicroseconds: 1100, bytesWritten: 744 },
        outcome: "complete",
        reasons: [],
        inDump: online,
        missing: RangeSet.empty,
      },
    ];
  });

  test("shows both sides, and the header as it was read before and after", () => {
    const { lead, sections, simulated } = labRunPage(PAGE, RAN, results);
    expect(lead).toEqual({
      tone: "good",
      text: "Without us the dump is incomplete, with us the dump is complete.",
    });
    expect(simulated).toBeUndefined();
    const header = sections.find((section) => section.kind === "header")!;
    expect(header.before.header).toBe(results[1]!.keeper!.before.image!.header);
    expect(header.after.header).toBe(results[1]!.keeper!.after.image!.header);
    const map = sections.find((section) => section.kind === "map")!;
    expect(map.runs.map(({ steps }) => steps.map(({ condition }) => condition))).toEqual([
      ["stale"],
      ["stale", "accurate", "accurate"],
    ]);
    expect(map.runs.map(({ steps }) => steps.map(({ bytes }) => bytes!.at(-1)))).toEqual([
      [2 ** 30],
      [2 ** 30, 0, 0],
    ]);
  });

  test("is drawn, whatever the guest calls its kernel", () => {
    const text = page(labRunPage(PAGE, RAN, results), IMPRINT);
    expect(text).toContain("6.1.0&lt;script&gt;");
    expect(text).toContain("10.0.2 (tcg)");
    expect(text).toContain("guest stood still for");
  });

  test("says bad where our dump is not complete", () => {
    const ours = { ...results[1]!, outcome: "no-dump" as const };
    expect(labRunPage(PAGE, RAN, [ours]).lead).toEqual({ tone: "bad", text: "With us there is no dump." });
  });
});

describe("the page of policies in real guests", () => {
  const run: PolicyRunResult = {
    ...RHEL7,
    release: "6.1.0",
    figures: { ...RHEL7.figures, blindMs: 300, longestBlindMs: 300, blindWindows: 1, accurateAfterMs: 900 },
    runMs: 1000,
    spans: [
      { start: -50, end: 500, state: "accurate", missingBytes: 0 },
      { start: 500, end: 600, state: "stale", missingBytes: 1 },
      { start: 600, end: 900, state: "blind", missingBytes: 0 },
    ],
  };
  const ours: PolicyRunResult = {
    ...run,
    case: { ...run.case, policy: "in-place" },
    installs: [{ at: 20, pauseMicroseconds: 1200, bytesWritten: 744, reactionMs: 17 }],
    spans: [{ start: 0, end: 1200, state: "accurate", missingBytes: 0 }],
    failures: ["something"],
  };

  test("has a band for each, all of one window from the first plug on", () => {
    const { sections, lead } = policyRunsPage(PAGE, RAN, [{ result: run }, { result: ours }]);
    const timeline = sections.find((section) => section.kind === "timeline")!;
    expect(timeline.window).toBe(1200);
    expect(timeline.bands.map(({ intervals }) => intervals)).toEqual([
      [
        { start: 0, end: 500, condition: "accurate" },
        { start: 500, end: 600, condition: "stale" },
        { start: 600, end: 900, condition: "blind" },
        { start: 900, end: 1200, condition: "blind" },
      ],
      [{ start: 0, end: 1200, condition: "accurate" }],
    ]);
    expect(lead.tone).toBe("bad");
    const series = sections.flatMap((section) => (section.kind === "distribution" ? section.series : []));
    expect(series).toEqual([
      { name: "in-place", values: [17] },
      { name: "in-place", values: [1.2] },
    ]);
  });

  test("says what it has no data for where nothing was installed", () => {
    const { lacking } = policyRunsPage(PAGE, RAN, [{ result: run }]);
    expect(lacking.map(([what]) => what)).toEqual([
      "Header before and after",
      "Outcomes with intervals",
      "Reactions",
      "Pauses",
    ]);
  });
});
