/** CPUs of a trial: how many the guest has online, seen from outside, and how many its dump has. */
import { setTimeout as delay } from "node:timers/promises";
import { readDumpedCpus } from "../dumped-cpus.ts";
import { MeasurementError } from "../errors.ts";
import type { ReadyGuest } from "./guests.ts";
import type { CpuEvidence } from "./outcome.ts";
import type { TrialPlan } from "./plan.ts";
import { readFileAt } from "./ram-file.ts";

/** A CPU takes some tenths of a second from its plug until it is online. */
const CPU_TIMEOUT_MS = 30_000;
const CPU_LOOK_MS = 20;

/** Waits until `count` CPUs are online. @throws {MeasurementError} where they are not within half a minute. */
export async function untilCpuOnline(ready: ReadyGuest, count: number): Promise<void> {
  await untilCpus(ready, (online) => online >= count, "bring its CPU online");
}

/** The same, until it has at most `count` of them: a CPU that is asked back goes some time later. */
export async function untilCpuGone(ready: ReadyGuest, count: number): Promise<void> {
  await untilCpus(ready, (online) => online <= count, "give up its CPU");
}

async function untilCpus(
  ready: ReadyGuest,
  enough: (online: number) => boolean,
  what: string,
): Promise<void> {
  const deadline = performance.now() + CPU_TIMEOUT_MS;
  while (!enough(await onlineCpus(ready))) {
    if (ready.guest.ended) return;
    if (performance.now() > deadline)
      throw new MeasurementError(`The guest did not ${what} within ${CPU_TIMEOUT_MS / 1000} s`);
    await delay(CPU_LOOK_MS);
  }
}

/** How many CPUs the first kernel has online; a panic leaves that as it was. A guest of the lab has 8 at most. */
export async function onlineCpus({ ramFile, facts }: ReadyGuest): Promise<number> {
  const [mask] = await readFileAt(ramFile, facts.onlineCpus, 1);
  return mask!.toString(2).replaceAll("0", "").length;
}

/** Read in the capture kernel, and in the RAM of the one before. */
export async function cpuEvidence(ready: ReadyGuest, plan: TrialPlan): Promise<CpuEvidence | undefined> {
  if (!plan.steps.some(({ kind }) => kind === "plug-cpu")) return undefined;
  const dumped = await readDumpedCpus(ready.guest.agent);
  return { online: await onlineCpus(ready), dumped: dumped?.length ?? 0 };
}
