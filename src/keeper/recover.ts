/**
 * What a keeper that was killed has left: an install half made, a machine that stands still. Finished, and resumed.
 *
 * The journal's intent has every byte that was to change, old and new. Where the image holds nothing but these, in any
 * mixture, the rest is written: so it is whole before the machine runs. Where it holds anything else it is somebody
 * else's, and is left alone.
 */
import { equalBytes } from "../image/bytes.ts";
import type { Sha256 } from "../image/hash.ts";
import { MemoryAccessError, type PhysicalMemory } from "../image/memory.ts";
import { type Guard, type SpanState, spanState, withRuns, type WriteRecord } from "../image/write-ahead.ts";
import { hex } from "../elfcore/hex.ts";
import type { EntryRef, OutcomeResult } from "./journal/entry.ts";
import type { PendingInstall } from "./journal/open-installs.ts";
import { guard, writeRecord } from "./journal/write.ts";
import type { ResumableMachine } from "./machine.ts";
import type { ServiceListener } from "./service-event.ts";

/** What became of an install that was found open. */
export interface Recovered {
  readonly result: Exclude<OutcomeResult, "undone" | "left-open">;
  /** One sentence without a full stop. */
  readonly reason: string;
  /** Whether the machine stood still by the pause of that install, and runs again. */
  readonly resumed: boolean;
}

/**
 * Brings an install to its end that a keeper before us has left, then lets the machine run where its pause was ours.
 *
 * To be called when a machine has been opened, before anything else is done with it.
 *
 * @throws what the machine throws; the install is as open as it was then, and can be tried again.
 */
export async function recoverTarget(
  machine: ResumableMachine,
  pending: PendingInstall,
  sha256: Sha256,
): Promise<Recovered> {
  const guards = pending.intent.guards.map(guard);
  const records = (pending.writes ?? []).map(writeRecord);
  const { value } = await machine.paused(async () => {
    try {
      return await finishWrites(machine.memory, guards, records, sha256);
    } catch (error) {
      if (!(error instanceof MemoryAccessError)) throw error;
      const reason = `this is another guest than the one that was written to (${error.message}): nothing was written`;
      return { result: "foreign", reason } as const;
    }
  });
  // First whole, then running. One that stood still when it was opened stands still after a pause too.
  const resumed = pending.isPauseOurs && (await machine.isStopped());
  if (resumed) await machine.letRun();
  return { ...value, resumed };
}

/** What recovery needs of a journal. */
export interface RecoveryJournal extends ServiceListener {
  pendingOf(target: string): PendingInstall | undefined;
  settle(target: string, intent: EntryRef, result: OutcomeResult, reason: string): void;
}

/**
 * {@link recoverTarget} for what `journal` has of `target`; tells it what came of that.
 *
 * @returns undefined where nothing was open.
 */
export async function recoverFromJournal(
  machine: ResumableMachine,
  target: string,
  journal: RecoveryJournal,
  sha256: Sha256,
): Promise<Recovered | undefined> {
  const pending = journal.pendingOf(target);
  if (!pending) return undefined;
  const recovered = await recoverTarget(machine, pending, sha256);
  if (recovered.resumed) {
    const reason = `its pause was that of install ${pending.ref.seq} of ${pending.ref.writer}, which was never ended`;
    journal.onEvent({ target, at: Date.now(), event: { kind: "resumed", reason } });
  }
  journal.settle(target, pending.ref, recovered.result, recovered.reason);
  return recovered;
}

type Finished = Omit<Recovered, "resumed">;

/** Called while the machine stands still. */
async function finishWrites(
  memory: PhysicalMemory,
  guards: readonly Guard[],
  records: readonly WriteRecord[],
  sha256: Sha256,
): Promise<Finished> {
  for (const { what, address, bytes } of guards) {
    if (equalBytes(await memory.read(address, bytes.length), bytes)) continue;
    return what === "cpu-note"
      ? {
          result: "too-late",
          reason: `the CPU note at ${hex(address)} is in use: the guest has panicked, so nothing was written`,
        }
      : {
          result: "replaced",
          reason: "another capture image is loaded, or none: nothing was written",
        };
  }
  const spans: { readonly record: WriteRecord; readonly found: Uint8Array; readonly state: SpanState }[] = [];
  for (const record of records) {
    const found = await memory.read(record.address, record.length);
    spans.push({ record, found, state: spanState(record, found, sha256) });
  }
  const odd = spans.find(({ state }) => state === "foreign");
  if (odd)
    return {
      result: "foreign",
      reason: `the ${odd.record.what} at ${hex(odd.record.address)} holds neither the old bytes nor the new ones: nothing was written`,
    };
  if (spans.every(({ state }) => state === "before"))
    return { result: "not-begun", reason: "nothing of it had been written" };
  const open = spans.filter(({ state }) => state !== "after");
  if (open.length === 0) return { result: "complete", reason: "all of it had been written" };
  for (const { record, found } of open) {
    const after = withRuns(record, found, "after");
    for (const { offset, after: bytes } of record.runs)
      await memory.write(record.address + BigInt(offset), bytes);
    if (!equalBytes(await memory.read(record.address, record.length), after))
      throw new Error(`The ${record.what} at ${hex(record.address)} could not be written`);
  }
  const names = open.map(({ record }) => record.what).join(", ");
  return { result: "finished", reason: `a part of it had been written; the rest was written now (${names})` };
}
