/**
 * One policy in a real guest with a real udevd: DIMMs are plugged by somebody else, the guest brings their blocks
 * online, and from outside it is seen for how long a panic would have given no dump, or one that lacks memory.
 */
import type { Verdict } from "../keeper/audit.ts";
import type { UdevSupply } from "./fetch/udev.ts";
import type { LoadCall } from "./guest-actions.ts";
import type { OutsideInstall } from "./outside-keeper.ts";
import type { MeasuredCosts } from "./policies/costs.ts";
import { judgePolicy } from "./policies/judge.ts";
import { playPolicy } from "./policies/play.ts";
import { labPolicy, type LabPolicyName } from "./policies/policy.ts";
import { bootPatiently, type LabParts, withLastWords } from "./scenario.ts";
import type { Observation } from "./window/poll.ts";
import type { Span } from "./window/timeline.ts";

/** What is run. Sizes in MiB. */
export interface PolicyCase {
  readonly policy: LabPolicyName;
  readonly load: LoadCall;
  readonly ramMiB: number;
  readonly crashkernelMiB: number;
  /** DIMMs in the order in which they are plugged, each once the guest has added the one before. */
  readonly dimmsMiB: readonly number[];
}

/** What a run gives and a simulator can predict. Times in milliseconds from the first `device_add`. */
export interface PolicyFigures {
  /** Loads of the capture kernel, after the first one. */
  readonly reloads: number;
  /** Time during which a panic would have given no dump: in all, at worst in one piece, and in how many. */
  readonly blindMs: number;
  readonly longestBlindMs: number;
  readonly blindWindows: number;
  /** Time during which a dump would have lacked memory that was online; what stays wrong counts until all was at rest. */
  readonly staleMs: number;
  readonly longestStaleMs: number;
  /** Bytes that were missing, times the seconds that they were. */
  readonly missingByteSeconds: number;
  /** From when on kdump stayed accurate; undefined where it was not at the end. */
  readonly accurateAfterMs: number | undefined;
}

/** Memory blocks with nothing between; numbers are the kernel's (`memory32`): addresses, divided by a block's size. */
export interface BlockRun {
  readonly first: number;
  readonly count: number;
}

/** What a run gave: plain values. All times as in {@link PolicyFigures}. */
export interface PolicyRunResult {
  readonly case: PolicyCase;
  readonly release: string;
  readonly udev: Pick<UdevSupply, "suite" | "version">;
  /** Boots that it took. */
  readonly boots: number;
  /** Whether the guest's kernel rewrites the header by itself (`crash_hotplug`). */
  readonly kernelUpdates: boolean;
  /** Blocks that were added and came online. */
  readonly blocks: number;
  readonly blockBytes: number;
  /** Uevents of memory blocks, from the plug on. */
  readonly events: number;
  readonly figures: PolicyFigures;
  readonly costs: MeasuredCosts;
  /** Events that a throttler, or a load to come, took care of. */
  readonly throttled: number;
  /** Events that found nothing loaded. */
  readonly skipped: number;
  /** Headers that were seen in the loaded image, the first one not counted. */
  readonly headerChanges: number;
  /** What we installed from outside. */
  readonly installs: readonly OutsideInstall[];
  /** Until all had come to rest. */
  readonly runMs: number;
  /** When each DIMM was plugged, and when the guest said that it had it. */
  readonly plugs: readonly { readonly at: number; readonly added: number; readonly bytes: number }[];
  /** The blocks of each of them. */
  readonly dimms: readonly BlockRun[];
  /** When each block had come online, in their order. */
  readonly onlineAt: readonly number[];
  /** Which blocks those were. */
  readonly onlineBlocks: readonly number[];
  /** What the loaded image's header described of the added blocks, from `at` on; a block only where all of it is. */
  readonly headers: readonly { readonly at: number; readonly described: readonly BlockRun[] }[];
  /** How finely was measured. */
  readonly resolution: Pick<Observation, "samples" | "medianGapMs" | "worstGapMs">;
  /** The whole run, span by span. */
  readonly spans: readonly Span[];
  readonly verdict: Verdict;
  readonly verdictReason: string;
  readonly promised: Verdict;
  /** One clause for each thing that went wrong; empty where all was as the policy promises. */
  readonly failures: readonly string[];
}

export interface PolicyRunOptions {
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs one case in a guest of its own.
 *
 * @param udev what the guest's initramfs has.
 * @throws {MeasurementError} where the run cannot be measured; {@link LostGuestError}, {@link GuestCommandError}.
 */
export async function runPolicy(
  parts: LabParts,
  wanted: PolicyCase,
  udev: Pick<UdevSupply, "suite" | "version">,
  options: PolicyRunOptions,
): Promise<PolicyRunResult> {
  const machine = { ...wanted, ram: "shared", addedMemory: "offline" } as const;
  const { guest, boots } = await bootPatiently(parts, machine, options);
  await using running = guest;
  return await withLastWords(running, options, async () => {
    const { suite, version } = udev;
    const policy = labPolicy(wanted.policy);
    const played = await playPolicy(running, policy, wanted, options.signal);
    return { case: wanted, udev: { suite, version }, boots, ...judgePolicy(policy, played) };
  });
}
