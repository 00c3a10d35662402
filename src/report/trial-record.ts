/** From a trial that was run to its line in the results. */
import type { PageEvidence } from "../lab/evidence.ts";
import type { TrialRecord } from "../lab/campaign/results.ts";
import { type Ran, trialId } from "../lab/campaign/runner.ts";
import { jsonBytes, jsonRanges } from "./json.ts";

/** @param repeat the command that runs this trial again. */
export function recordOf({ task, facts, result, ms, lost }: Ran, repeat: string): TrialRecord {
  const { plan, kernel, load, way, zone } = task;
  return {
    kind: "trial",
    id: trialId(task, plan.index),
    kernel,
    release: facts.release,
    load,
    way,
    index: plan.index,
    seed: plan.seed,
    moment: plan.panic.moment,
    kernelCode: `0x${facts.kernelCode.toString(16)}`,
    fresh: plan.fresh,
    zone,
    plannedPanicMs: plan.panic.atMs,
    panickedMs: rounded(result.panickedAt),
    steps: result.steps.map(({ what, at, done }) => ({ what, at: rounded(at), done: rounded(done) })),
    removals: result.removals,
    outcome: result.outcome,
    reasons: [...result.reasons],
    cause: result.cause ?? null,
    onlineBytes: jsonBytes(result.online.bytes),
    missing: [...jsonRanges(result.missing)],
    claimed: [...jsonRanges(result.claimed)],
    pages: result.pages.length === 0 ? null : pagesOf(result.pages),
    installs: result.installs.map(({ at, pauseMicroseconds, bytesWritten, reactionMs }) => ({
      at: rounded(at),
      pauseMicroseconds: pauseMicroseconds ?? null,
      bytesWritten,
      reactionMs: reactionMs === undefined ? null : rounded(reactionMs),
    })),
    ...(result.cpus && { cpus: result.cpus }),
    errors: [...result.errors],
    state: result.state,
    ms: Math.round(ms),
    lost,
    repeat,
  };
}

function pagesOf(pages: readonly PageEvidence[]): NonNullable<TrialRecord["pages"]> {
  const sum = (count: (page: PageEvidence) => number): number =>
    pages.reduce((total, page) => total + count(page), 0);
  return {
    sampled: sum((page) => page.sampled),
    equal: sum((page) => page.equal),
    different: sum((page) => page.different),
    unreadable: sum((page) => page.unreadable),
  };
}

/** Tenths of a microsecond say nothing. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
