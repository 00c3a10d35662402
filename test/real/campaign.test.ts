/** A few trials of a campaign on a real kernel: what a saved guest gives, and that losses are seen as losses. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { bootFresh, SavedGuest } from "../../src/lab/campaign/guests.ts";
import type { TrialPlan } from "../../src/lab/campaign/plan.ts";
import { runTrial, type TrialResult } from "../../src/lab/campaign/trial.ts";
import { type KeepingName, keepingWay } from "../../src/lab/campaign/ways.ts";
import { readResults, type TrialRecord } from "../../src/lab/campaign/results.ts";
import { cli, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";
import { readReport, type ReportPage } from "./report-page.ts";

const lab = await openLab("a campaign on Linux 6.1");
const READY = {
  load: "kexec_file_load",
  way: keepingWay("plug"),
  zone: "online_movable",
  cpus: true,
} as const;
const saved = lab && (await SavedGuest.make({ parts: lab.parts, log: console.error }, READY));
afterAll(async () => {
  await saved?.[Symbol.asyncDispose]();
  await lab?.close();
});

/** Two DIMMs, and a panic once both are online. */
const SETTLED: TrialPlan = {
  index: 0,
  seed: 20201214,
  fresh: false,
  steps: [
    { kind: "plug", atMs: 50, sizeMiB: 256 },
    { kind: "plug", atMs: 100, sizeMiB: 128 },
  ],
  panic: { moment: "after", atMs: 0, settled: true },
  pages: true,
};
/** A panic before anything comes online. */
const AT_ONCE: TrialPlan = { ...SETTLED, panic: { moment: "before", atMs: 10 }, pages: false };

async function run(way: KeepingName, plan: TrialPlan): Promise<TrialResult> {
  await using ready = await saved!.restore(undefined);
  return await runTrial(ready, plan, keepingWay(way));
}

function expectEqualPages({ pages }: TrialResult): void {
  expect(pages.length).toBeGreaterThan(0);
  for (const { sampled, equal, nonZero } of pages) {
    expect(sampled).toBe(16);
    expect(equal).toBe(sampled);
    expect(nonZero).toBe(sampled);
  }
}

/** The second of two DIMMs is removed again. */
const REMOVED: TrialPlan = {
  ...SETTLED,
  steps: [...SETTLED.steps, { kind: "unplug", atMs: 200, dimm: 1 }],
};

describe.skipIf(!lab)("a trial on Linux 6.1, from a saved guest", () => {
  test("is incomplete where nobody keeps the header: the dump lacks what was online", async () => {
    const result = await run("nothing", SETTLED);
    expect(result.errors).toEqual([]);
    expect(result.outcome).toBe("incomplete");
    expect(result.missing.bytes).toBe(384n << 20n);
    expect(result.pages.every(({ unreadable, sampled }) => unreadable === sampled)).toBe(true);
  });

  test.each(["in-place", "plug"] as const)("is complete with %s, page for page", async (way) => {
    const result = await run(way, SETTLED);
    expect(result.errors).toEqual([]);
    expect(result.reasons).toEqual([]);
    expect(result.outcome).toBe("complete");
    expect(result.online.bytes).toBe(saved!.facts.online.bytes + (384n << 20n));
    expect(result.installs.length).toBeGreaterThan(0);
    expect(result.state).toEqual({ image: true, locked: true, saved: true });
    expectEqualPages(result);
  });

  test("has a header without the DIMM that was removed, with in-place", async () => {
    const result = await run("in-place", REMOVED);
    expect(result.errors).toEqual([]);
    expect(result.outcome).toBe("complete");
    expect(result.removals).toEqual({ asked: 1, gone: 1 });
    expect(result.claimed.isEmpty).toBe(true);
    expect(result.online.bytes).toBe(saved!.facts.online.bytes + (256n << 20n));
  });

  test.each(["nothing", "in-place", "plug"] as const)(
    "with %s, and a CPU that came online, counts it",
    async (way) => {
      const steps = [...SETTLED.steps, { kind: "plug-cpu", atMs: 150 }] as const;
      const result = await run(way, { ...SETTLED, steps, pages: false });
      expect(result.errors).toEqual([]);
      expect(result.steps.at(-1)).toMatchObject({ what: "plug-cpu kdh-cpu0" });
      expect(result.cpus).toEqual({ online: 3, dumped: way === "nothing" ? 2 : 3 });
      const lost = "The dump has the registers of 2 of 3 CPUs that were online";
      expect(result.reasons.includes(lost)).toBe(way === "nothing");
      expect(result.outcome).toBe(way === "nothing" ? "incomplete" : "complete");
    },
  );

  test.each(["in-place", "plug"] as const)(
    "with %s is complete without a CPU that came and went",
    async (way) => {
      const steps = [
        { kind: "plug-cpu", atMs: 50 },
        { kind: "plug", atMs: 100, sizeMiB: 128 },
        { kind: "unplug-cpu", atMs: 400 },
      ] as const;
      const result = await run(way, { ...SETTLED, steps, pages: false });
      expect(result).toMatchObject({ errors: [], outcome: "complete", removals: { asked: 0, gone: 0 } });
      expect(result.cpus).toEqual({ online: 2, dumped: 2 });
    },
  );

  test("is complete where the panic comes first, and nothing was plugged", async () => {
    const result = await run("nothing", AT_ONCE);
    expect(result.outcome).toBe("complete");
    expect(result.steps).toEqual([]);
    expect(result.online.equals(saved!.facts.online)).toBe(true);
  });

  test("gives no dump, and says why, where nothing is loaded at the panic", async () => {
    await using ready = await saved!.restore(undefined);
    await ready.guest.agent.output("kexec --kexec-file-syscall --load-panic --unload");
    const result = await runTrial(ready, AT_ONCE, keepingWay("nothing"));
    expect(result).toMatchObject({ outcome: "no-dump", cause: "not-loaded" });
    expect(result.state).toEqual({ image: false, locked: false, saved: false });
  });

  test("begins with a guest of its own as well", async () => {
    await using ready = await bootFresh({ parts: lab!.parts, log: console.error }, READY);
    expect(ready.facts.release).toBe(saved!.facts.release);
    expect((await runTrial(ready, AT_ONCE, keepingWay("nothing"))).outcome).toBe("complete");
  });
});

test.skipIf(!lab)(
  "a matrix that is interrupted goes on where it stopped, leaves no guest, and makes a page of all of it",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "kdh-campaign-"));
    try {
      const out = join(directory, "results.jsonl");
      const report = join(directory, "matrix.html");
      const cells = ["--kernel", "6.1", "--load", "kexec_file_load", "--change", "one-dimm"];
      const ways = ["--way", "nothing", "--way", "in-place"];
      const args = ["lab", "matrix", ...cells, ...ways, "--jobs", "1", "--out", out, "--report", report];
      // Where the system has a large enough /dev/shm, RAM would lie there.
      const env = { TMPDIR: directory };
      const first = startCli(args, 200_000, env);
      const deadline = performance.now() + 190_000;
      while ((await readFile(out, "utf8").catch(() => "")).split("\n").length < 3) {
        expect(performance.now()).toBeLessThan(deadline);
        await delay(50);
      }
      first.child.kill("SIGINT");
      expect((await first.result).code).toBe(130);
      expect((await readResults(out))?.trials).toHaveLength(1);
      // No guest, no page, nothing half written.
      expect((await readdir(directory)).toSorted()).toEqual(["results.jsonl", "results.jsonl.failed"]);

      const second = await startCli(args, 200_000, env).result;
      expect.soft(second.code, second.stderr).toBe(0);
      expect(second.stderr).toContain("has 1 trials already; 1 are left");
      const { trials } = (await readResults(out))!;
      expect(trials.map(({ way, outcome }) => [way, outcome])).toEqual([
        ["nothing", "incomplete"],
        ["in-place", "complete"],
      ]);
      const merged = (await cli("lab", "merge", out)).stdout;
      expect(merged).toMatch(/^ *6\.1 +kexec_file_load +one-dimm +INCOMPLETE +complete$/m);
      expectPageOfMatrix(await readReport(report), trials);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
);

function expectPageOfMatrix({ title, lead, sections }: ReportPage, trials: readonly TrialRecord[]): void {
  expect(title).toBe("Matrix: 2 panics of real guests");
  expect(lead).toEqual({
    tone: "good",
    text: "✓ 1 of 1 panics under the ways with which we promise a complete dump (in-place, plug) gave one.",
  });
  expect(sections.get("Every kernel, system call and change")?.rows.map((row) => row.join(" "))).toEqual([
    "kernel loaded by change nothing in-place",
    "6.1 kexec_file_load one-dimm ! INCOMPLETE ✓ complete",
  ]);
  const [lost, kept] = trials;
  expect(lost!.missing.map(({ bytes }) => Number(bytes))).toEqual([2 ** 30]);
  const map = sections.get("Memory that dumps lacked or claimed, panic by panic");
  expect(map?.missing).toBe("1 GiB");
  expect(map?.text).toContain(`panic of ${lost!.id}: incomplete`);
  expect(map?.text).toContain(lost!.missing[0]!.start);
  expect(sections.get("Panics that gave no complete dump")?.rows.slice(1)).toEqual([
    [lost!.id, "! incomplete", expect.any(String), lost!.reasons.join("; "), lost!.repeat],
  ]);
  expect(sections.get("What was run")?.text).toContain(kept!.release);
}
