/** The alert rules: by Prometheus' own tool, and against the definitions. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as v from "valibot";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { METRICS } from "../../src/keeper/metrics/definitions.ts";
import { ServiceMetrics } from "../../src/keeper/metrics/service-metrics.ts";
import { audit } from "../keeper/metrics/samples.ts";
import { promtool } from "./promtool.ts";
import { askedFor } from "./queries.ts";

const RULES = fileURLToPath(new URL("../../deploy/prometheus/kdump-hotplug.rules.yml", import.meta.url));
const TESTS = fileURLToPath(new URL("alerts.test.yml", import.meta.url));
const run = promisify(execFile);

const rulesFile = v.strictObject({
  groups: v.array(
    v.strictObject({
      name: v.string(),
      rules: v.array(
        v.strictObject({
          alert: v.string(),
          expr: v.string(),
          for: v.optional(v.string()),
          labels: v.strictObject({ severity: v.picklist(["critical", "warning", "info"]) }),
          annotations: v.strictObject({ summary: v.string(), description: v.string() }),
        }),
      ),
    }),
  ),
});
const rules = v.parse(rulesFile, parse(await readFile(RULES, "utf8"))).groups.flatMap((group) => group.rules);

describe("the alert rules", () => {
  test.each(rules)("$alert asks for metrics and labels that are defined", ({ expr, annotations }) => {
    const { labels } = askedFor(expr);
    const words = `${annotations.summary} ${annotations.description}`;
    for (const [, label] of words.matchAll(/\$labels\.(\w+)/g)) expect(labels).toContain(label);
    for (const [, metric] of words.matchAll(/\b(kdump_hotplug_\w+)/g))
      expect(METRICS.map(({ name }) => name)).toContain(metric);
  });

  test("have a test each", async () => {
    const tested = await readFile(TESTS, "utf8");
    for (const { alert } of rules) expect(tested).toContain(`alertname: ${alert}\n`);
  });
});

describe("what reads queries", () => {
  test.each([
    ["kdump_hotplug_nothing", "No metric is called kdump_hotplug_nothing"],
    ["up == 0", "No metric is called up"],
    ['kdump_hotplug_target_up{guest="a"}', 'has no label "guest"'],
    ["sum by (verdict) (kdump_hotplug_target_up)", 'No metric has the label "verdict"'],
    ['kdump_hotplug_target_verdict{verdict="armed"}', 'never "armed"'],
    ['kdump_hotplug_target_verdict{verdict=~"broken|no"}', 'never "no"'],
    ["kdump_hotplug_pause_seconds", "No metric is called kdump_hotplug_pause_seconds"],
    ["kdump_hotplug_targets_sum", "No metric is called kdump_hotplug_targets_sum"],
    ["kdump_hotplug_written_bytes_total @ 5", "Not understood"],
    ["1 + 1", "No metric is asked for"],
  ])("refuses %s", (query, why) => {
    expect(() => askedFor(query)).toThrow(why);
  });
});

describe("promtool", () => {
  let program: string;
  let reason: string | undefined;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdh-promtool-"));
    try {
      program = await promtool();
    } catch (error) {
      reason = `promtool is not to be had: ${error instanceof Error ? error.message : String(error)}`;
    }
  }, 300_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  test("finds nothing wrong with the rules", async ({ skip }) => {
    skip(reason !== undefined, reason);
    const { stdout } = await run(program, ["check", "rules", RULES]);
    expect(stdout).toContain(`SUCCESS: ${rules.length} rules found`);
  });

  test("has the alerts fire for what they are for, and not for what they are not for", async ({ skip }) => {
    skip(reason !== undefined, reason);
    const { stdout } = await run(program, ["test", "rules", TESTS]);
    expect(stdout).toContain("SUCCESS");
  });

  test("sees it where an alert would fire for something else", async ({ skip }) => {
    skip(reason !== undefined, reason);
    const text = await readFile(RULES, "utf8");
    for (const [from, to] of [
      ['verdict="broken"', 'verdict="accurate"'],
      ["> 0.1", "> 10"],
      ["for: 10m", "for: 40m"],
    ] as const) {
      expect(text).toContain(from);
      await writeFile(join(directory, "rules.yml"), text.replace(from, to));
      const cases = (await readFile(TESTS, "utf8")).replace(/\S+kdump-hotplug\.rules\.yml/, "rules.yml");
      await writeFile(join(directory, "cases.yml"), cases);
      await expect(run(program, ["test", "rules", join(directory, "cases.yml")])).rejects.toThrow(
        "Command failed",
      );
    }
  });

  test("finds nothing wrong with what a keeper publishes", async ({ skip }) => {
    skip(reason !== undefined, reason);
    const metrics = new ServiceMetrics({ version: "0" });
    for (const event of [
      { kind: "found" },
      { kind: "verdict", audit: audit("accurate") },
      { kind: "failed", error: new Error("x") },
    ] as const)
      metrics.onEvent({ target: "qmp:/a", at: 0, event });
    const checking = run(program, ["check", "metrics"]);
    checking.child.stdin?.end(await metrics.text());
    // What it would rather have otherwise it says on stderr.
    expect(await checking).toMatchObject({ stdout: "", stderr: "" });
  });
});
