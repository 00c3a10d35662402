/** What is measured, in parts that each have a process to themselves: nothing that one leaves behind slows the next. */
import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { benchGuest, type Reach } from "./guest.ts";
import { benchHugeDimms } from "./huge-dimms.ts";
import { benchInside } from "./inside.ts";
import { benchHeaders, benchRangeSets } from "./pure.ts";
import { benchRemovals } from "./removals.ts";
import { benchRealGuests } from "./real-guests.ts";
import { benchBusy, benchIdle } from "./service.ts";
import { benchRules, benchSimulation } from "./simulation.ts";
import { benchSoak } from "./soak.ts";
import type { Findings, Measurement } from "./stats.ts";
import { benchStorm } from "./storm.ts";

type Log = (line: string) => void;
type Section = (log: Log, signal: AbortSignal) => Promise<Findings>;

const rows = (measurements: readonly Measurement[]): Findings => ({ measurements, lines: [] });
const guest =
  (reach: Reach): Section =>
  async (log, signal) =>
    rows(await benchGuest(reach, log, signal));

/** All parts, by name. */
export const SECTION_NAMES = [
  "simulation",
  "pure",
  "shared-file",
  "qemu-memory",
  "gdbstub",
  "removals",
  "inside-5.10",
  "inside-6.1",
  "storm",
  "service-idle",
  "service-busy",
  "soak",
  "real-guests",
  "huge-1",
  "huge-240",
] as const;

/** The name of a part. */
export type SectionName = (typeof SECTION_NAMES)[number];

const SECTIONS: Readonly<Record<SectionName, Section>> = {
  simulation: async (_, signal) => rows([...(await benchRules()), ...(await benchSimulation(signal))]),
  pure: async () => rows([...(await benchHeaders()), ...(await benchRangeSets())]),
  "shared-file": guest("shared file"),
  "qemu-memory": guest("QEMU's memory"),
  gdbstub: guest("gdbstub"),
  removals: async (log, signal) => rows(await benchRemovals(log, signal)),
  "inside-5.10": async (log, signal) => benchInside("5.10", log, signal),
  "inside-6.1": async (log, signal) => benchInside("6.1", log, signal),
  storm: async (log) => benchStorm(log),
  "service-idle": async (log, signal) => benchIdle(log, signal),
  "service-busy": async (log, signal) => benchBusy(log, signal),
  soak: async (log, signal) => benchSoak(log, signal),
  "real-guests": async (log, signal) => benchRealGuests(log, signal),
  // As in the RFC, and as near to its 480 DIMMs as QEMU, which has 256 slots, can come.
  "huge-1": async (log, signal) => benchHugeDimms(1, 480n << 30n, log, signal),
  "huge-240": async (log, signal) => benchHugeDimms(240, 2n << 30n, log, signal),
};

/** These hold nothing that would have to be given back, and do not look up from their work: they are ended as they are. */
export const ENDED_AT_ONCE: ReadonlySet<string> = new Set<SectionName>(["simulation", "pure"]);

/** Whether there is such a part. */
export function isSection(name: string): name is SectionName {
  return SECTION_NAMES.some((known) => known === name);
}

/** Measures one part in this process, and tells the process that started it. */
export async function measureHere(name: SectionName, log: Log, signal: AbortSignal): Promise<void> {
  const findings = await SECTIONS[name](log, signal);
  await new Promise<void>((resolve, reject) => {
    process.send!(findings, (error: Error | null) => (error ? reject(error) : resolve()));
  });
  process.disconnect();
}

/**
 * Measures one part in a process of its own, which ends with this one's `signal`.
 *
 * @throws where it ended without having told anything.
 */
export async function measureApart(name: SectionName, ended: AbortSignal): Promise<Findings> {
  ended.throwIfAborted();
  // What it, and whoever it has started, cannot remove any more is gone with this.
  const room = await mkdtemp(join(tmpdir(), "kdh-bench-"));
  const child = fork(process.argv[1]!, ["--section", name], { env: { ...process.env, TMPDIR: room } });
  ended.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
  let findings: Findings | undefined;
  child.on("message", (message) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- measureHere wrote it
    findings = message as Findings;
  });
  const code = await new Promise<number | string | null>((resolve) => {
    child.once("exit", (status, by) => resolve(by ?? status));
  });
  await rm(room, { recursive: true, force: true, maxRetries: 5 });
  if (code !== 0 || !findings) throw new Error(`Cannot measure ${name}: its process ended with ${code}`);
  return findings;
}
