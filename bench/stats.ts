/** Samples and what is said of them. */

/** One line of the table. Times in milliseconds. */
export interface Measurement {
  readonly name: string;
  readonly samples: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
  /** The process's largest resident size so far, MiB; it only grows from line to line. */
  readonly peakMiB: number;
  /** What is asked for: which figure, and at most how many milliseconds. */
  readonly limit?: { readonly of: "median" | "p99" | "max"; readonly ms: number };
}

/** Sums up `samples` (milliseconds). The 99th percentile is the smallest sample that 99 % do not exceed. */
export function measured(
  name: string,
  samples: readonly number[],
  limit?: Measurement["limit"],
): Measurement {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return {
    name,
    samples: sorted.length,
    median: at(0.5),
    p99: at(0.99),
    max: at(1),
    peakMiB: process.resourceUsage().maxRSS / 1024,
    ...(limit ? { limit } : {}),
  };
}

/** Times `work` `count` times, after `warmUp` times that do not count. */
export async function time(
  count: number,
  work: () => unknown,
  warmUp: number = Math.ceil(count / 5),
): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let i = -warmUp; i < count; i++) {
    const started = performance.now();
    await work();
    if (i >= 0) samples.push(performance.now() - started);
  }
  return samples;
}

/** `yes`, `NO`, or nothing where nothing is asked. */
export function verdict({ limit, ...figures }: Measurement): string {
  if (!limit) return "";
  return figures[limit.of] <= limit.ms ? "yes" : "NO";
}

/** What a part gives: rows of the table, and what no row of it holds. */
export interface Findings {
  readonly measurements: readonly Measurement[];
  readonly lines: readonly string[];
}
