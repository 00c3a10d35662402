/** Runs a scenario under a policy, and says what it came to. */
import { SimulationError } from "../error.ts";
import type { KernelModel } from "../kernels.ts";
import { type LoadCall, updatesHeader } from "../load.ts";
import type { Costs } from "./costs.ts";
import type { KexecCounts } from "./kexec.ts";
import type { Policy } from "./policy.ts";
import { type Program, sleep, spawn } from "./process.ts";
import type { Scenario, ScenarioStep } from "./scenario.ts";
import type { Change } from "./state.ts";
import { type Interval, Timeline } from "./timeline.ts";
import { World } from "./world.ts";

/** A change with its time, ms. */
export interface TimedChange {
  readonly at: number;
  readonly change: Change;
}

/** What a policy made of a scenario. Times in milliseconds from the scenario's first step. */
export interface PolicyRun {
  readonly policy: Policy;
  /** Uevents of memory and CPUs. */
  readonly uevents: number;
  /** What was done to the image; the load before the scenario is not in it. */
  readonly counts: KexecCounts;
  /** When the hypervisor's last step was done. */
  readonly plugged: number;
  /** When udev had worked on the last event. */
  readonly processed: number;
  /** When nothing went on any more. */
  readonly quiet: number;
  /** From when on the header was accurate for good; undefined where it never is. */
  readonly accurate: number | undefined;
  /** Workers of udev that were killed after 180 s. */
  readonly killedWorkers: number;
  readonly intervals: readonly Interval[];
  /** What it is like from then on. */
  readonly final: Pick<Interval, "condition" | "missingBytes">;
}

/** What is run. */
export interface RunOptions {
  readonly scenario: Scenario;
  readonly policy: Policy;
  readonly costs: Costs;
  readonly kernel: KernelModel;
  readonly call: LoadCall;
  /** Collects every change of the machine, for a replay in bytes. */
  readonly trace?: TimedChange[] | undefined;
}

/** No wait for udev in a scenario is longer. */
const LONGEST_SETTLE = 1e9;

/**
 * Runs it. The same options give the same result.
 *
 * @throws {SimulationError} where the policy cannot run on that kernel.
 */
export function runPolicy({ scenario, policy, costs, kernel, call, trace }: RunOptions): PolicyRun {
  if (policy.needsCrashHotplug && !updatesHeader(kernel, call))
    throw new SimulationError(
      `policy ${policy.name}`,
      `it needs a kernel that updates the header itself: expected kernel 6.12 and kexec_file_load, not ${kernel.name} and ${call}`,
    );
  const timeline = new Timeline("accurate");
  const { bootBlocks, cpus } = scenario;
  const world = new World({
    policy,
    costs,
    kernel,
    call,
    bootBlocks,
    cpus,
    listener: (change, now, state) => {
      timeline.record(now, state.condition, state.missingBytes);
      trace?.push({ at: now, change });
    },
  });
  let plugged = 0;
  spawn(play(world, scenario), () => (plugged = world.clock.now));
  world.clock.run();
  const quiet = world.clock.now;
  const intervals = timeline.finish(quiet);
  const { condition, missingBytes } = world.state;
  return {
    policy,
    uevents: world.uevents,
    counts: world.kexec.counts,
    plugged,
    processed: world.udevd.lastEmpty,
    quiet,
    accurate:
      condition === "accurate"
        ? (intervals.findLast((interval) => interval.condition !== "accurate")?.end ?? 0)
        : undefined,
    killedWorkers: world.udevd.timeouts,
    intervals,
    final: { condition, missingBytes },
  };
}

function* play(world: World, scenario: Scenario): Program {
  for (const step of scenario.steps) yield* playStep(world, step, scenario);
}

function* playStep(world: World, step: ScenarioStep, { bootBlocks, cpus }: Scenario): Program {
  switch (step.step) {
    case "plug":
      for (let i = 0; i < step.count; i++) {
        yield* world.plug(step.blocks, step.at === undefined ? undefined : step.at + i * step.blocks);
        yield* pause(world, step.pace);
      }
      return;
    case "unplug":
      for (const dimm of world.state.dimms.slice(-step.count).toReversed()) {
        yield* world.unplug(dimm);
        yield* pause(world, step.pace);
      }
      return;
    case "add-cpus":
      for (let i = 0; i < step.count; i++) {
        world.addCpu();
        yield sleep(world.clock, step.every);
      }
      return;
    case "remove-cpus":
      for (let i = 0; i < step.count; i++) {
        world.removeCpu();
        yield sleep(world.clock, step.every);
      }
      return;
    case "flap-cpu":
      for (let i = 0; i < step.times * 2; i++) {
        world.sendCpu(i % 2 === 0 ? "offline" : "online", cpus - 1);
        yield sleep(world.clock, step.every / 2);
      }
      return;
    case "coldplug":
      for (let block = 0; block < bootBlocks; block++) world.sendBootBlock("add", block);
      for (let cpu = 0; cpu < cpus; cpu++) world.sendCpu("add", cpu);
      return;
    case "wait":
      yield sleep(world.clock, step.time);
  }
}

function* pause(world: World, pace: number | "settled"): Program {
  if (pace === "settled") yield* world.udevd.settle(LONGEST_SETTLE);
  else yield sleep(world.clock, pace);
}
