/** The dashboard: every metric that it shows is defined, and Grafana can lay it out. */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { METRICS } from "../../src/keeper/metrics/definitions.ts";
import { askedFor } from "./queries.ts";

const source = v.object({ type: v.literal("prometheus"), uid: v.literal("${datasource}") });
const dashboardFile = v.object({
  uid: v.string(),
  title: v.string(),
  schemaVersion: v.number(),
  templating: v.object({
    list: v.array(v.looseObject({ name: v.string(), type: v.string(), definition: v.optional(v.string()) })),
  }),
  panels: v.array(
    v.object({
      id: v.number(),
      type: v.picklist(["stat", "timeseries", "table", "heatmap"]),
      title: v.string(),
      description: v.pipe(v.string(), v.minLength(10)),
      datasource: source,
      gridPos: v.strictObject({ x: v.number(), y: v.number(), w: v.number(), h: v.number() }),
      targets: v.pipe(
        v.array(
          v.object({
            refId: v.string(),
            datasource: source,
            expr: v.string(),
            legendFormat: v.optional(v.string()),
          }),
        ),
        v.minLength(1),
      ),
      fieldConfig: v.object({ defaults: v.looseObject({}) }),
    }),
  ),
});
const file = await readFile(new URL("../../deploy/grafana/kdump-hotplug.json", import.meta.url), "utf8");
const { panels, templating } = v.parse(dashboardFile, JSON.parse(file));
const variables = templating.list.map(({ name }) => name);

describe.each(panels)("the panel $title", ({ targets, gridPos }) => {
  test("asks for metrics and labels that are defined", () => {
    for (const { expr, legendFormat = "" } of targets) {
      const { labels } = askedFor(expr);
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(labels).toContain(label);
      for (const [, variable] of expr.matchAll(/\$(?!__rate_interval)(\w+)/g))
        expect(variables).toContain(variable);
    }
  });

  test("has a place of its own on 24 columns", () => {
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    const over = panels.filter(
      ({ gridPos: other }) =>
        other.x < gridPos.x + gridPos.w &&
        gridPos.x < other.x + other.w &&
        other.y < gridPos.y + gridPos.h &&
        gridPos.y < other.y + other.h,
    );
    expect(over).toHaveLength(1);
  });
});

test("panels and their queries can be told apart", () => {
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  for (const { targets } of panels)
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
});

test("variables are values of labels that are there", () => {
  const queries = templating.list.filter(({ type }) => type === "query");
  expect(queries.length).toBeGreaterThan(0);
  for (const { definition = "" } of queries) {
    const [, query = "", label] = /^label_values\((.+), (\w+)\)$/.exec(definition) ?? [];
    expect(askedFor(query).labels).toContain(label);
  }
});

test("nothing that is published is left out", () => {
  const shown = new Set(
    panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => [...askedFor(expr).metrics])),
  );
  const asked = new Set([
    ...shown,
    ...templating.list.flatMap(({ definition }) =>
      METRICS.filter(({ name }) => definition?.includes(name)).map(({ name }) => name),
    ),
  ]);
  const hidden = METRICS.map(({ name }) => name).filter((name) => !asked.has(name));
  // Of no use in a picture: the journal of installs has how much each wrote.
  expect(hidden).toEqual(["kdump_hotplug_written_bytes_total"]);
});
