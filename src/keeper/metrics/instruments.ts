/** The definitions as something that counts: prom-client behind the names of {@link METRICS}. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import {
  type CounterDefinition,
  type GaugeDefinition,
  type HistogramDefinition,
  type MetricLabel,
  METRICS,
} from "./definitions.ts";

/** A value for each of a metric's labels, and for no other. */
export type LabelValues<L extends MetricLabel> = Readonly<Record<L, string>>;

/** All metrics of one keeper. Two in one process do not see each other. */
export class Instruments {
  readonly #registry = new Registry();
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();

  constructor() {
    for (const definition of METRICS) {
      const { name, help } = definition;
      const base = { name, help, labelNames: [...definition.labels], registers: [this.#registry] };
      if (definition.type === "counter") this.#counters.set(name, new Counter(base));
      else if (definition.type === "gauge") this.#gauges.set(name, new Gauge(base));
      else this.#histograms.set(name, new Histogram({ ...base, buckets: [...definition.buckets] }));
    }
  }

  /** @param by not negative: a counter never falls. */
  add<L extends MetricLabel>({ name }: CounterDefinition<L>, labels: LabelValues<L>, by = 1): void {
    this.#counters.get(name)?.inc(labels, by);
  }

  set<L extends MetricLabel>({ name }: GaugeDefinition<L>, labels: LabelValues<L>, value: number): void {
    this.#gauges.get(name)?.set(labels, value);
  }

  observe({ name }: HistogramDefinition, value: number): void {
    this.#histograms.get(name)?.observe(value);
  }

  /** Takes one series away, where it is there. */
  remove<L extends MetricLabel>(
    { name }: CounterDefinition<L> | GaugeDefinition<L>,
    labels: LabelValues<L>,
  ): void {
    (this.#counters.get(name) ?? this.#gauges.get(name))?.remove(labels);
  }

  /** Everything in Prometheus' text format, version 0.0.4. */
  async text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** What an HTTP answer calls {@link text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }
}
