import { format } from "prettier";
import { expect, test } from "vitest";
import { METRICS } from "../../../src/keeper/metrics/definitions.ts";
import { metricsPage } from "../../../src/keeper/metrics/page.ts";

test("docs/metrics.md is what the definitions say (with -u it is written anew)", async () => {
  const page = await format(metricsPage(), { parser: "markdown", printWidth: 110 });
  await expect(page).toMatchFileSnapshot("../../../docs/metrics.md");
});

test("the page has every metric, with its labels and its buckets", () => {
  const page = metricsPage();
  for (const metric of METRICS) {
    const entry = page.slice(page.indexOf(`### \`${metric.name}\``)).split("\n### ")[0]!;
    for (const label of metric.labels) expect(entry).toMatch(new RegExp(`by .*\\b${label}[,_]`));
    expect(entry).toContain(metric.help);
    expect(entry).toContain(metric.type === "histogram" ? metric.buckets.join(", ") : metric.type);
  }
});
