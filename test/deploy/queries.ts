/** What a PromQL query asks of: as much of the language as alert rules and dashboards here use, and nothing unknown. */
import { METRICS, type MetricDefinition } from "../../src/keeper/metrics/definitions.ts";

/** Labels that Prometheus itself adds when it scrapes. */
const OF_THE_SCRAPE: ReadonlySet<string> = new Set(["instance", "job"]);

const WORDS: ReadonlySet<string> = new Set(
  "and or unless by without on ignoring sum max min count time absent rate increase changes histogram_quantile min_over_time".split(
    " ",
  ),
);

/** The values that a label can have, where they are few and known. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  verdict: ["accurate", "inaccurate", "not-loaded", "broken", "unknown"],
  state: ["watched", "unreachable"],
};

export interface AskedFor {
  /** Names of the definitions. */
  readonly metrics: ReadonlySet<string>;
  /** Labels that the result can have. */
  readonly labels: ReadonlySet<string>;
}

/** Reads `query`. @throws where it asks for a metric, a label or a label's value that nobody defines. */
export function askedFor(query: string): AskedFor {
  const metrics = new Set<string>();
  const labels = new Set<string>();
  const groups: (readonly string[])[] = [];
  // Durations and Grafana's variables, then what is in braces and in lists of labels: names are left.
  let rest = query.replaceAll(/\[(?:\d+[smhdw]|\$__rate_interval)\]/g, " ");
  rest = rest.replaceAll(/\b(by|without|on|ignoring)\s*\(([^)]*)\)/g, (_, _word: string, list: string) => {
    groups.push(list.split(",").map((label) => label.trim()));
    return " ";
  });
  rest = rest.replaceAll(/([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?/g, (_, name: string, matchers?: string) => {
    if (WORDS.has(name) && matchers === undefined) return " ";
    const metric = definitionOf(name);
    metrics.add(metric.name);
    const own = new Set<string>([...metric.labels, ...OF_THE_SCRAPE]);
    if (metric.type === "histogram") own.add("le");
    for (const label of own) labels.add(label);
    for (const matcher of matchersOf(matchers ?? "")) {
      if (!own.has(matcher.label))
        throw new Error(`${metric.name} has no label "${matcher.label}": ${query}`);
      checkValue(matcher);
    }
    return " ";
  });
  if (/[^\s\d.()<>=!+\-*/,]/.test(rest)) throw new Error(`Not understood: ${rest.trim()} of ${query}`);
  if (metrics.size === 0) throw new Error(`No metric is asked for: ${query}`);
  for (const label of groups.flat())
    if (!labels.has(label)) throw new Error(`No metric has the label "${label}": ${query}`);
  return { metrics, labels: groups[0] ? new Set(groups.flat()) : labels };
}

function definitionOf(series: string): MetricDefinition {
  const exact = METRICS.find(({ name, type }) => name === series && type !== "histogram");
  if (exact) return exact;
  const base = /^(.*)_(?:bucket|sum|count)$/.exec(series)?.[1];
  const histogram = METRICS.find(({ name, type }) => name === base && type === "histogram");
  if (!histogram) throw new Error(`No metric is called ${series}`);
  return histogram;
}

interface Matcher {
  readonly label: string;
  readonly isPattern: boolean;
  readonly value: string;
}

function matchersOf(text: string): readonly Matcher[] {
  const found = [...text.matchAll(/\s*(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)/g)];
  if (found.map(([all]) => all).join("").length !== text.length) throw new Error(`Not understood: {${text}}`);
  return found.map(([, label = "", operator = "", value = ""]) => ({
    label,
    isPattern: operator.endsWith("~"),
    value,
  }));
}

function checkValue({ label, isPattern, value }: Matcher): void {
  const known = VALUES[label];
  if (!known) return;
  for (const part of isPattern ? value.split("|") : [value])
    if (!known.includes(part)) throw new Error(`The label ${label} is never "${part}"`);
}
