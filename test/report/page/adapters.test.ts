import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { auditMachine, type Audit } from "../../../src/keeper/audit.ts";
import { mergeResults, type MergedResults, readResults } from "../../../src/lab/campaign/results.ts";
import { campaignJson } from "../../../src/report/campaign.ts";
import { memoryMapText } from "../../../src/report/memory-map.ts";
import { auditMap, auditPage } from "../../../src/report/page/from-audit.ts";
import { campaignPage } from "../../../src/report/page/from-campaign.ts";
import type { PageModel, Section } from "../../../src/report/page/model.ts";
import { shellLine } from "../../../src/report/page/setting.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../../src/targets/simulated/machine.ts";
import { parseTarget } from "../../../src/targets/target.ts";
import { HEAD, trial } from "../../lab/campaign/samples.ts";

const SETTING = { command: "kdump-hotplug x", host: [["Node", "20"]] } as const;

function sectionOf<K extends Section["kind"]>(
  { sections }: PageModel,
  kind: K,
): Extract<Section, { readonly kind: K }> | undefined {
  return sections.find((section): section is Extract<Section, { readonly kind: K }> => section.kind === kind);
}

describe("the page of a campaign that was run", () => {
  let results: MergedResults;
  beforeAll(async () => {
    const directory = join(import.meta.dirname, "../../../docs/campaign-2026-11-28");
    const names = (await readdir(directory)).filter((name) => name.endsWith(".jsonl")).toSorted();
    const files = await Promise.all(
      names.map(async (name) => ({ name, results: (await readResults(join(directory, name)))! })),
    );
    results = mergeResults(files);
  });

  test("counts what its JSON counts, and has its intervals", () => {
    const model = campaignPage(SETTING, results);
    const outcomes = sectionOf(model, "outcomes")!.rows;
    expect(campaignJson(results)).toMatchObject({
      rows: outcomes.map(({ complete, incomplete, noDump, notComplete95 }) => ({
        complete,
        incomplete,
        noDump,
        notComplete95,
      })),
    });
    expect(outcomes.length).toBe(16);
    const moments = sectionOf(model, "moments")!.rows.flatMap(({ points }) => points);
    expect(moments.length).toBe(results.trials.length);
  });

  test("says what it cannot show, and names kernel, QEMU and accelerator", () => {
    const { lacking, facts, lead } = campaignPage(SETTING, results);
    expect(lacking.map(([what]) => what)).toContain("Header before and after");
    const known = Object.fromEntries(facts);
    expect(known["QEMU"]).toBe("10.0.2 (tcg)");
    expect(known["kernels"]).toMatch(/6\.12/);
    expect(known["Node"]).toBe("20");
    expect(lead.tone).toBe("good");
  });

  test("steps through the panics whose dumps lacked or claimed memory, with their bytes", () => {
    const map = sectionOf(campaignPage(SETTING, results), "map")!;
    const wrong = results.trials.filter(({ missing, claimed }) => missing.length + claimed.length > 0);
    expect(map.runs[0]!.steps.length).toBe(Math.min(200, wrong.length));
    const [first] = wrong;
    const bytes = first!.missing.reduce((sum, range) => sum + Number(range.bytes), 0);
    expect(map.runs[0]!.steps[0]!.bytes?.at(-1)).toBe(bytes);
  });
});

test("the page of a campaign in which we failed says so first", () => {
  const trials = [trial(0), trial(1, { outcome: "incomplete", reasons: ["lacks memory"] })];
  const model = campaignPage(SETTING, mergeResults([{ name: "a", results: { head: HEAD, trials } }]));
  expect(model.lead).toEqual({
    tone: "bad",
    text: "1 of 2 panics under the ways with which we promise a complete dump (in-place, plug) gave one; 1 did not and should have.",
  });
  expect(sectionOf(model, "table")).toBeDefined();
});

test("a campaign without a panic has a page all the same", () => {
  const model = campaignPage(SETTING, mergeResults([{ name: "a", results: { head: HEAD, trials: [] } }]));
  expect(model.lead.text).toBe("No panic was run.");
  expect(model.sections).toEqual([]);
});

test("a matrix has a cell for each change and way", () => {
  const trials = [
    trial(0, { way: "nothing", outcome: "incomplete" }),
    trial(0, { way: "in-place" }),
    trial(2, { way: "in-place", claimed: [{ start: "0x100000000", end: "0x110000000", bytes: 2 ** 28 }] }),
  ];
  const head = { ...HEAD, kind: "matrix" as const };
  const model = campaignPage(SETTING, mergeResults([{ name: "a", results: { head, trials } }]));
  expect(sectionOf(model, "table")).toMatchObject({
    head: ["kernel", "loaded by", "change", "nothing", "in-place"],
    rows: [
      [
        "6.1",
        "kexec_file_load",
        "one-dimm",
        { tone: "doubt", text: "INCOMPLETE" },
        { tone: "good", text: "complete" },
      ],
      ["6.1", "kexec_file_load", "removed", "-", { tone: "good", text: "complete*" }],
    ],
  });
});

async function audit(text: string): Promise<Audit> {
  const target = parseTarget(text);
  if (target.kind !== "sim") throw new TypeError(`${text} is no simulated machine`);
  return await auditMachine(SimulatedTarget.open(target.text, target.spec, nodeSha256), nodeSha256);
}

function sumOf(bytes: readonly number[]): number {
  return bytes.reduce((total, count) => total + count, 0);
}

describe("the page of an audit", () => {
  test("shows the header that keep would write, and that nothing is missing then", async () => {
    const found = await audit("sim:6.1,dimm=1G");
    const model = auditPage(SETTING, "sim:6.1,dimm=1G", found, undefined);
    expect(model.simulated).toBeDefined();
    expect(model.lead.tone).toBe("bad");
    const header = sectionOf(model, "header")!;
    expect(header.after.header.programHeaders.length).toBeGreaterThan(
      header.before.header.programHeaders.length,
    );
    const [now, then] = sectionOf(model, "map")!.runs[0]!.steps;
    expect([now!.bytes?.at(-1), then!.bytes?.at(-1)]).toEqual([2 ** 30, 0]);
    expect([now!.condition, then!.condition]).toEqual(["stale", "accurate"]);
    // Each byte is of one class.
    expect(sumOf(now!.bytes!)).toBe(sumOf(then!.bytes!));
  });

  test("of an accurate machine has no header to compare, and says why", async () => {
    const model = auditPage(SETTING, "sim:6.1", await audit("sim:6.1"), undefined);
    expect(model.lead.tone).toBe("good");
    expect(sectionOf(model, "map")!.runs[0]!.steps.length).toBe(1);
    const why = Object.fromEntries(model.lacking);
    expect(sectionOf(model, "header") ?? why["Header before and after"]).toBeDefined();
  });

  test("a terminal has the same map in characters, plain ASCII", async () => {
    const text = memoryMapText(auditMap(await audit("sim:6.1,dimm=1G"))!);
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    expect(text).toContain("as it is now\n");
    expect(text).toMatch(/0x000100000000 {2}\|M+\|/);
    expect(text).toContain("as kdump-hotplug keep would have it\n");
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });
});

test("a command line is quoted as a shell takes it", () => {
  expect(shellLine(["kdump-hotplug", "audit", "qmp:/run/a b's.sock", ""])).toBe(
    `kdump-hotplug audit 'qmp:/run/a b'\\''s.sock' ''`,
  );
});
