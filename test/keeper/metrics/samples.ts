/** Events as a service tells of them, and the metrics that came of it. */
import type { CaptureImage } from "../../../src/image/locate.ts";
import type { Audit, Verdict } from "../../../src/keeper/audit.ts";
import type { InstallReport } from "../../../src/keeper/install.ts";
import { Keeper } from "../../../src/keeper/keeper.ts";
import { ServiceMetrics } from "../../../src/keeper/metrics/service-metrics.ts";
import type { TargetEvent } from "../../../src/keeper/service-event.ts";
import { halfOpen } from "../../../src/layout/range.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { FakeTarget } from "../fake-target.ts";

export const GIB: bigint = 1n << 30n;

export function audit(verdict: Verdict, more: Partial<Audit> = {}): Audit {
  return {
    verdict,
    reason: "",
    image: undefined,
    layout: { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined },
    missing: RangeSet.empty,
    stale: RangeSet.empty,
    cpus: { present: 2, described: 2, possible: 2, missing: [], undescribed: [], unknown: undefined },
    warnings: [],
    ...more,
  };
}

export function gibibytes(count: number): RangeSet {
  return RangeSet.of([halfOpen(4n * GIB, (4n + BigInt(count)) * GIB)]);
}

const found = await new Keeper(new FakeTarget("load"), nodeSha256).audit();

/** A loaded image, as it is found; `more` says what is to be otherwise. */
export function image(more: Partial<CaptureImage> = {}): CaptureImage {
  if (!found.image) throw new Error(`The fake target has no image: ${found.reason}`);
  return { ...found.image, ...more };
}

export function installed(more: Partial<Extract<TargetEvent, { kind: "installed" }>> = {}): TargetEvent {
  return {
    kind: "installed",
    before: audit("inaccurate"),
    installed: report(["e_phnum"], 800),
    reactionMs: 7,
    ...more,
  };
}

/** An install that wrote two bytes for each of `what`. */
export function report(
  what: readonly InstallReport["writes"][number]["what"][],
  pauseMicroseconds: number | undefined,
): InstallReport {
  const bytes = new Uint8Array(2);
  return {
    writes: what.map((each) => ({ what: each, address: 0n, before: bytes, after: bytes })),
    pauseMicroseconds,
  };
}

/** Metrics with a clock that a test turns, ms. */
export class Bench {
  now = 1000;
  cpu = 0;
  readonly metrics: ServiceMetrics = new ServiceMetrics({
    version: "1.2.3",
    now: () => this.now,
    process: { startedAt: 5000, cpuMicroseconds: () => this.cpu, residentBytes: () => 4096 },
  });

  tell(event: TargetEvent, target = "qmp:/a"): void {
    this.metrics.onEvent({ target, at: 0, event });
  }

  judge(verdict: Verdict, more: Partial<Audit> = {}, target?: string): void {
    this.tell({ kind: "verdict", audit: audit(verdict, more) }, target);
  }

  /** Every series with its value, without the prefix: `target_up{target="qmp:/a"}`. */
  async series(): Promise<ReadonlyMap<string, number>> {
    const lines = (await this.metrics.text()).split("\n").filter((line) => /^[a-z]/.test(line));
    return new Map(
      lines.map((line) => {
        const at = line.lastIndexOf(" ");
        return [line.slice("kdump_hotplug_".length, at), Number(line.slice(at + 1))];
      }),
    );
  }

  async value(series: string): Promise<number | undefined> {
    return (await this.series()).get(series);
  }
}
