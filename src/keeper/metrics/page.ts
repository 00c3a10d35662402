/** docs/metrics.md, from the definitions. */
import { LABELS, type MetricDefinition, METRICS } from "./definitions.ts";

const HEAD = `# Metrics

What a keeper that runs as a service says of itself and of its targets, at \`/metrics\` (\`--listen\`) and in a text file for the
node exporter (\`--textfile\`). [service.md](service.md) says how to have them; \`deploy/prometheus\` has alert rules for them,
\`deploy/grafana\` a dashboard.

This page is made from \`src/keeper/metrics/definitions.ts\`; a test fails where the two differ, and
\`npx vitest run --project unit test/keeper/metrics/page.test.ts -u\` writes it anew.

Series of a target are there from the moment at which it is found until it has ended or is not wanted any more. Counters begin
at 0 with the process; those of a target begin again where it comes back.
`;

/** The page, as Markdown. */
export function metricsPage(metrics: readonly MetricDefinition[] = METRICS): string {
  const labels = Object.entries(LABELS).map(([name, text]) => `- \`${name}\`: ${text}`);
  return [HEAD, "## Labels\n", `${labels.join("\n")}\n`, "## All of them\n", ...metrics.map(entry)].join(
    "\n",
  );
}

function entry(metric: MetricDefinition): string {
  const { name, type, unit, help, labels, note } = metric;
  const facts = [
    type,
    ...(unit ? [unit] : []),
    labels.length === 0 ? "no labels" : `by ${labels.map((label) => `\`${label}\``).join(", ")}`,
  ];
  const buckets = metric.type === "histogram" ? [`Buckets: up to ${metric.buckets.join(", ")}.`] : [];
  const text = [`${help}.`, ...(note ? [note] : []), ...buckets].join(" ");
  return `### \`${name}\`\n\n_${facts.join(", ").replaceAll("`", "")}_\n\n${text}\n`;
}
