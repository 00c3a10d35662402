import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ImageError, type ImageErrorKind } from "../../../src/image/error.ts";
import type { Verdict } from "../../../src/keeper/audit.ts";
import { METRICS } from "../../../src/keeper/metrics/definitions.ts";
import { ServiceMetrics } from "../../../src/keeper/metrics/service-metrics.ts";
import { audit, Bench, gibibytes, image, installed, report } from "./samples.ts";

const A = '{target="qmp:/a"}';
const VERDICTS: readonly Verdict[] = ["accurate", "inaccurate", "not-loaded", "broken", "unknown"];

describe("the verdict of a target", () => {
  test("is unknown when it is found, and then what was found, one of five", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    const verdicts = async (): Promise<readonly (number | undefined)[]> => {
      const series = await bench.series();
      return VERDICTS.map((verdict) => series.get(`target_verdict{target="qmp:/a",verdict="${verdict}"}`));
    };
    expect(await verdicts()).toEqual([0, 0, 0, 0, 1]);
    for (const verdict of VERDICTS) {
      bench.judge(verdict);
      expect(await verdicts()).toEqual(VERDICTS.map((each) => (each === verdict ? 1 : 0)));
    }
  });

  test("comes with what a dump would lack, and goes when the dump would not", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    bench.judge("inaccurate", {
      image: image(),
      missing: gibibytes(3),
      stale: gibibytes(2),
      cpus: { present: 6, described: 2, possible: 8, missing: [], undescribed: [], unknown: undefined },
      warnings: ["one"],
    });
    const names = ["target_missing_bytes", "target_stale_bytes", "target_missing_cpus", "target_warnings"];
    const values = async (): Promise<readonly (number | undefined)[]> => {
      const series = await bench.series();
      return names.map((name) => series.get(`${name}${A}`));
    };
    expect(await values()).toEqual([3 * 2 ** 30, 2 * 2 ** 30, 4, 1]);
    bench.judge("accurate", { image: image() });
    expect(await values()).toEqual([0, 0, 0, 0]);
  });

  test("is unknown again where the target cannot be reached", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    bench.judge("accurate");
    bench.tell({ kind: "unreachable", reason: "QEMU has ended" });
    expect(await bench.value('target_verdict{target="qmp:/a",verdict="unknown"}')).toBe(1);
    expect(await bench.value(`target_up${A}`)).toBe(0);
    expect(await bench.value('targets{state="unreachable"}')).toBe(1);
    bench.tell({ kind: "found" });
    expect(await bench.value(`target_up${A}`)).toBe(1);
    expect(await bench.value('targets{state="watched"}')).toBe(1);
  });
});

/** Blind, stale and unknown ones of `qmp:/a`. */
async function seconds(bench: Bench): Promise<readonly (number | undefined)[]> {
  const series = await bench.series();
  return ["blind", "stale", "unknown"].map((what) => series.get(`target_${what}_seconds_total${A}`));
}

/** The one that holds. */
async function holds(bench: Bench): Promise<string | undefined> {
  const series = await bench.series();
  return VERDICTS.find((each) => series.get(`target_verdict{target="qmp:/a",verdict="${each}"}`) === 1);
}

describe("a failure", () => {
  test("to look leaves the verdict unknown until there is one again", async () => {
    const bench = new Bench();
    bench.judge("accurate");
    bench.tell({ kind: "failed", error: new Error("QEMU answered nonsense") });
    expect(await holds(bench)).toBe("unknown");
    bench.judge("accurate");
    expect(await holds(bench)).toBe("accurate");
  });

  test("to install leaves what the look found", async () => {
    const bench = new Bench();
    bench.judge("inaccurate");
    bench.tell({ kind: "failed", error: new ImageError("header-too-large", "x") });
    expect(await holds(bench)).toBe("inaccurate");
  });
});

describe("time", () => {
  test("is counted from verdict to verdict, and until it is asked for", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    expect(await seconds(bench)).toEqual([0, 0, 0]);
    bench.now += 500;
    bench.judge("not-loaded");
    bench.now += 2000;
    bench.judge("broken");
    bench.now += 1000;
    bench.judge("inaccurate");
    bench.now += 4000;
    bench.judge("accurate");
    bench.now += 60_000;
    expect(await seconds(bench)).toEqual([3, 4, 0.5]);
    bench.judge("not-loaded");
    bench.now += 250;
    expect(await seconds(bench)).toEqual([3.25, 4, 0.5]);
    expect(await seconds(bench)).toEqual([3.25, 4, 0.5]);
  });

  test("has as blind what a system call took that let go of the image, from inside", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    bench.judge("accurate");
    const after = { address: 0n, header: image().header };
    const rearm = { way: "re-arm", callMs: 3, segments: 9, bytes: 4096, leftByKernel: false, after } as const;
    bench.tell(installed({ installed: rearm, reactionMs: 40 }));
    bench.tell(
      installed({
        installed: { way: "full-load", callMs: 1500, source: "", reason: "", after },
        reactionMs: 0,
      }),
    );
    expect(await seconds(bench)).toEqual([1.503, 0.04, 0]);
    expect(await bench.value('installs_total{way="re-arm",result="done"}')).toBe(1);
    expect(await bench.value('installs_total{way="full-load",result="done"}')).toBe(1);
    // Nobody stood still for it.
    expect(await bench.value("pause_seconds_count")).toBe(0);
  });

  test("has what was corrected before there was a verdict, by its reaction time", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    bench.judge("accurate");
    bench.now += 1000;
    bench.tell(installed({ reactionMs: 40 }));
    bench.tell(installed({ before: audit("broken"), reactionMs: 30 }));
    bench.tell(installed({ before: audit("accurate"), reactionMs: 50 }));
    bench.tell(installed({ reactionMs: undefined }));
    expect(await seconds(bench)).toEqual([0.03, 0.04, 0]);
  });

  test("is not counted twice where the verdict said it already", async () => {
    const bench = new Bench();
    bench.tell({ kind: "found" });
    bench.judge("inaccurate");
    bench.now += 1000;
    bench.tell(installed({ reactionMs: 900 }));
    expect(await seconds(bench)).toEqual([0, 1, 0]);
  });

  test("never makes a counter fall, whatever the clock does", async () => {
    const steps = fc.array(
      fc.record({ by: fc.integer({ min: -1e7, max: 1e7 }), verdict: fc.constantFrom(...VERDICTS) }),
      { maxLength: 30 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        const bench = new Bench();
        bench.tell({ kind: "found" });
        let before: readonly (number | undefined)[] = [0, 0, 0];
        let forward = 0;
        for (const { by, verdict } of plan) {
          bench.now += by;
          forward += Math.max(0, by);
          bench.judge(verdict);
          const after = await seconds(bench);
          for (const [i, value] of after.entries()) expect(value).toBeGreaterThanOrEqual(before[i]!);
          before = after;
        }
        const sum = before.reduce<number>((all, value) => all + value!, 0);
        expect(sum).toBeLessThanOrEqual(forward / 1000 + 1e-6);
      }),
      { numRuns: 100 },
    );
  });
});

describe("installs", () => {
  test("are counted by way, with their pauses, reactions and bytes", async () => {
    const bench = new Bench();
    expect(await bench.value('installs_total{way="in-place",result="done"}')).toBe(0);
    bench.tell(installed());
    bench.tell(installed({ installed: report(["header", "digest"], undefined), reactionMs: 45_000 }));
    bench.tell(installed({ installed: report(["header", "memory-map", "command-line"], 1500) }));
    const series = await bench.series();
    expect(series.get('installs_total{way="in-place",result="done"}')).toBe(2);
    expect(series.get('installs_total{way="move",result="done"}')).toBe(1);
    expect(series.get("written_bytes_total")).toBe(12);
    expect(series.get("pause_seconds_count")).toBe(2);
    expect(series.get("pause_seconds_sum")).toBeCloseTo(0.0023);
    expect(series.get('pause_seconds_bucket{le="0.001"}')).toBe(1);
    expect(series.get('pause_seconds_bucket{le="0.002"}')).toBe(2);
    expect(series.get('reaction_seconds_bucket{le="0.01"}')).toBe(2);
    expect(series.get('reaction_seconds_bucket{le="60"}')).toBe(3);
    expect(series.get("reaction_seconds_count")).toBe(3);
  });

  test("leave nothing wrong, before a hash has borne that out", async () => {
    const bench = new Bench();
    const wrong = { image: image(), missing: gibibytes(3), stale: gibibytes(1) };
    bench.judge("inaccurate", wrong);
    bench.now += 1000;
    bench.tell(installed({ before: audit("inaccurate", wrong), reactionMs: undefined }));
    bench.now += 60_000;
    expect(await holds(bench)).toBe("accurate");
    const series = await bench.series();
    expect(series.get(`target_missing_bytes${A}`)).toBe(0);
    expect(series.get(`target_stale_bytes${A}`)).toBe(0);
    expect(series.get(`target_stale_seconds_total${A}`)).toBe(1);
    bench.judge("broken");
    expect(await holds(bench)).toBe("broken");
  });

  test("leave CPUs lacking whose notes nobody knows", async () => {
    const bench = new Bench();
    const cpus = { ...audit("inaccurate").cpus, present: 6, unknown: "no kernel was found" };
    bench.judge("inaccurate", { image: image(), missing: gibibytes(3), cpus });
    bench.tell(installed({ before: audit("inaccurate", { image: image(), missing: gibibytes(3), cpus }) }));
    expect(await holds(bench)).toBe("inaccurate");
    expect(await bench.value(`target_missing_bytes${A}`)).toBe(0);
    expect(await bench.value(`target_missing_cpus${A}`)).toBe(4);
  });

  test("that fail are counted by why, and so are looks, which are no installs", async () => {
    const bench = new Bench();
    const fail = (kind: ImageErrorKind): void =>
      bench.tell({ kind: "failed", error: new ImageError(kind, `at 0x${kind}`) });
    fail("header-too-large");
    fail("changed");
    fail("changed");
    fail("forged");
    const series = await bench.series();
    expect(series.get('installs_total{way="unknown",result="header-too-large"}')).toBe(1);
    expect(series.get('installs_total{way="unknown",result="changed"}')).toBe(2);
    expect(series.has('installs_total{way="unknown",result="forged"}')).toBe(false);
    expect(series.get('failures_total{target="qmp:/a",reason="forged"}')).toBe(1);
    expect(series.get('failures_total{target="qmp:/a",reason="changed"}')).toBe(2);
  });
});

describe("notes that cannot be adopted", () => {
  const cpus = {
    ...audit("accurate").cpus,
    possible: undefined,
    unknown: "Where the notes are is not known: the kernel's per-CPU table is not in RAM any more",
  };
  const series = 'adopt_failures_total{target="qmp:/a",reason="table-gone"}';

  test("are counted once for each image", async () => {
    const bench = new Bench();
    bench.judge("accurate", { image: image(), cpus });
    bench.judge("inaccurate", { image: image(), cpus });
    expect(await bench.value(series)).toBe(1);
    bench.judge("accurate", { image: image({ headerAddress: 0x3e00_0000n }), cpus });
    expect(await bench.value(series)).toBe(2);
  });

  test("are not counted where nothing could be installed anyway", async () => {
    const bench = new Bench();
    bench.judge("unknown", { image: image({ loaded: "unconfirmed" }), cpus });
    expect(await bench.value(series)).toBeUndefined();
  });
});

describe("a target that is gone", () => {
  test("takes all its series with it and leaves those of others", async () => {
    const bench = new Bench();
    const everything = (target: string): void => {
      bench.tell({ kind: "found" }, target);
      bench.judge(
        "inaccurate",
        { image: image(), cpus: { ...audit("accurate").cpus, unknown: "no kernel was found" } },
        target,
      );
      bench.tell(installed(), target);
      bench.tell({ kind: "failed", error: new ImageError("changed", "x") }, target);
      bench.tell({ kind: "failed", error: new Error("x") }, target);
      bench.tell({ kind: "resumed", reason: "x" }, target);
    };
    everything("qmp:/b");
    const before = [...(await bench.series()).keys()];
    everything("qmp:/a");
    const both = [...(await bench.series()).keys()];
    const ofEach = both.filter((name) => name.includes("qmp:/a")).length;
    expect(ofEach).toBe(before.filter((name) => name.includes("qmp:/b")).length);
    // Every metric that has a target at all has been seen.
    const named = new Set(both.filter((name) => name.includes("qmp:/a")).map((name) => name.split("{")[0]));
    expect(named.size).toBe(
      METRICS.filter(({ labels }) => labels.some((label) => label === "target")).length,
    );
    bench.tell({ kind: "gone", reason: "QEMU has ended" });
    expect([...(await bench.series()).keys()].sort()).toEqual(before.sort());
    expect(await bench.value('targets{state="watched"}')).toBe(1);
    bench.tell({ kind: "gone", reason: "nobody knows it" }, "qmp:/c");
  });

  test("begins anew where it comes back", async () => {
    const bench = new Bench();
    bench.judge("not-loaded");
    bench.now += 1000;
    bench.tell({ kind: "gone", reason: "x" });
    bench.now += 1000;
    bench.tell({ kind: "found" });
    bench.now += 500;
    expect(await bench.value(`target_blind_seconds_total${A}`)).toBe(0);
    expect(await bench.value(`target_unknown_seconds_total${A}`)).toBe(0.5);
  });
});

describe("what is no event", () => {
  test("is asked for when the metrics are", async () => {
    const bench = new Bench();
    const journal = async (): Promise<readonly (number | undefined)[]> => {
      const series = await bench.series();
      return ["waiting_entries", "lost_entries_total", "late_installs_total"].map((name) =>
        series.get(`journal_${name}`),
      );
    };
    expect(await journal()).toEqual([0, 0, 0]);
    let lag = { waiting: 3, lost: 2, late: 1 };
    bench.metrics.watchJournal(() => lag);
    expect(await journal()).toEqual([3, 2, 1]);
    lag = { waiting: 0, lost: 5, late: 1 };
    expect(await journal()).toEqual([0, 5, 1]);
    // Another journal, which begins at 0.
    lag = { waiting: 0, lost: 0, late: 0 };
    expect(await journal()).toEqual([0, 5, 1]);
    bench.cpu = 2_500_000;
    expect(await bench.value("process_cpu_seconds_total")).toBe(2.5);
    bench.cpu = 1_000_000;
    expect(await bench.value("process_cpu_seconds_total")).toBe(2.5);
    expect(await bench.value("process_resident_memory_bytes")).toBe(4096);
    expect(await bench.value("process_start_time_seconds")).toBe(5);
    const node = process.versions.node;
    expect(await bench.value(`build_info{version="1.2.3",node="${node}"}`)).toBe(1);
  });

  test("of this process is what this process has", async () => {
    const text = await new ServiceMetrics({ version: "0" }).text();
    const value = (name: string): number =>
      Number(new RegExp(`^kdump_hotplug_${name} (.*)$`, "m").exec(text)![1]);
    expect(value("process_resident_memory_bytes")).toBeGreaterThan(10e6);
    expect(value("process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(
      Math.abs(value("process_start_time_seconds") - (Date.now() / 1000 - process.uptime())),
    ).toBeLessThan(2);
  });
});

test("names of hostile targets cannot forge a line", async () => {
  const bench = new Bench();
  bench.tell({ kind: "found" }, 'qmp:/a"\nkdump_hotplug_targets{state="x"} 9\n\\');
  const text = await bench.metrics.text();
  expect(text).not.toMatch(/^kdump_hotplug_targets\{state="x"\}/m);
  expect(text).toContain('target="qmp:/a\\"\\nkdump_hotplug_targets{state=\\"x\\"} 9\\n\\\\"');
});
