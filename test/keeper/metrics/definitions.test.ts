/** Prometheus' own conventions for names (its documentation, "Metric and label naming"). */
import { describe, expect, test } from "vitest";
import { LABELS, METRICS } from "../../../src/keeper/metrics/definitions.ts";

describe.each(METRICS.map((metric) => [metric.name, metric] as const))("%s", (name, metric) => {
  test("has the one prefix, and a name of lower-case words", () => {
    expect(name).toMatch(/^kdump_hotplug_[a-z]+(?:_[a-z]+)*$/);
  });

  test("ends in _total where it is a counter, and only there", () => {
    expect(name.endsWith("_total")).toBe(metric.type === "counter");
  });

  test("says its unit, which is a base unit", () => {
    const bare = name.replace(/_total$/, "");
    expect(bare.endsWith("_seconds")).toBe(metric.unit === "seconds");
    expect(bare.endsWith("_bytes")).toBe(metric.unit === "bytes");
    expect(name).not.toMatch(/milli|micro|_ms|_us|kilo|mega|percent/);
  });

  test("does not say its type or its labels", () => {
    expect(name).not.toMatch(/_(?:gauge|counter|histogram|count|sum|bucket|info_total)$/);
    for (const label of metric.labels) expect(name).not.toMatch(new RegExp(`_by_${label}`));
  });

  test("has help that is one line without a full stop", () => {
    expect(metric.help).toMatch(/^[A-Z0-9][^\n]*[^.\n]$/);
    expect(metric.note ?? "A whole sentence.").toMatch(/[.]$/);
  });
});

test.each(METRICS.flatMap((metric) => (metric.type === "histogram" ? [metric] : [])))(
  "$name has buckets that rise",
  ({ buckets }) => {
    expect([...new Set(buckets)].sort((a, b) => a - b)).toEqual(buckets);
  },
);

test("no name is there twice, and every label is used and not one of Prometheus' own", () => {
  expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  const used = new Set(METRICS.flatMap(({ labels }) => labels as readonly string[]));
  expect([...used].sort()).toEqual(Object.keys(LABELS).sort());
  for (const label of used) expect(["job", "instance", "le", "quantile"]).not.toContain(label);
});
