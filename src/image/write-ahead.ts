/**
 * What is going to be written, small enough to be put down before it is, and enough to finish it where whoever wrote
 * was killed in the middle.
 *
 * Of each planned write only the bytes that change are kept, with the hash of the whole span before and after. So a
 * later look can tell, for any mixture of old and new bytes, that it is a mixture of these two and of nothing else:
 * each changing byte is one of its two, and with all of them put to the one or the other the span has that hash.
 */
import { cpuNotes } from "../elfcore/kinds.ts";
import { equalBytes, u64Bytes } from "./bytes.ts";
import type { Sha256 } from "./hash.ts";
import type { CaptureImage } from "./locate.ts";
import type { PlannedWrite } from "./plan.ts";

/** Bytes that change, from `offset` in the span on. */
export interface ChangedRun {
  readonly offset: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** One planned write. */
export interface WriteRecord {
  readonly what: string;
  readonly address: bigint;
  readonly length: number;
  /** SHA-256 of all `length` bytes. */
  readonly sha256Before: Uint8Array;
  readonly sha256After: Uint8Array;
  readonly runs: readonly ChangedRun[];
}

/** Bytes that say that the image is still the one that was to be changed. */
export interface Guard {
  /** `kexec_crash_image`: the kernel's pointer to the image; `cpu-note`: a note that no panic has filled. */
  readonly what: "kexec_crash_image" | "cpu-note";
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** What a span holds: all old bytes, all new ones, some of each, or others. */
export type SpanState = "before" | "after" | "mixed" | "foreign";

/** Runs with fewer equal bytes than this between them are one: each costs some characters of its own. */
const MIN_GAP = 8;
/** CPU notes that are looked at, as before any other write (keeper/install.ts). */
const MAX_CPU_NOTES = 8;

/** The records of `writes`, in their order. */
export function recordWrites(writes: readonly PlannedWrite[], sha256: Sha256): readonly WriteRecord[] {
  return writes.map(({ what, address, before, after }) => ({
    what,
    address,
    length: after.length,
    sha256Before: sha256().update(before).digest(),
    sha256After: sha256().update(after).digest(),
    runs: changedRuns(before, after),
  }));
}

function changedRuns(before: Uint8Array, after: Uint8Array): readonly ChangedRun[] {
  const runs: ChangedRun[] = [];
  let start: number | undefined;
  let last = 0;
  const close = (): void => {
    if (start === undefined) return;
    runs.push({ offset: start, before: before.slice(start, last + 1), after: after.slice(start, last + 1) });
    start = undefined;
  };
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    if (start !== undefined && i - last > MIN_GAP) close();
    start ??= i;
    last = i;
  }
  close();
  return runs;
}

/** What must still hold of `image` for a record of writes into it to mean anything. */
export function guardsOf(image: CaptureImage): readonly Guard[] {
  const { kernel, kimage, header } = image;
  const guards: Guard[] = cpuNotes(header)
    .slice(0, MAX_CPU_NOTES)
    .map(({ p_paddr }) => ({ what: "cpu-note", address: p_paddr, bytes: new Uint8Array(4) }));
  if (kernel?.imagePointerAddress !== undefined && kernel.pageOffset !== undefined && kimage) {
    const bytes = u64Bytes(kimage.address + kernel.pageOffset);
    guards.unshift({ what: "kexec_crash_image", address: kernel.imagePointerAddress, bytes });
  }
  return guards;
}

/** What `found`, the bytes at the record's span, are. */
export function spanState(record: WriteRecord, found: Uint8Array, sha256: Sha256): SpanState {
  if (found.length !== record.length || record.runs.some((run) => !fits(run, record))) return "foreign";
  let old = 0;
  let young = 0;
  for (const { offset, before, after } of record.runs) {
    for (let i = 0; i < after.length; i++) {
      const byte = found[offset + i];
      const isBefore = byte === before[i];
      const isAfter = byte === after[i];
      if (!isBefore && !isAfter) return "foreign";
      if (!isAfter) old++;
      if (!isBefore) young++;
    }
  }
  const isProven =
    equalBytes(
      sha256()
        .update(withRuns(record, found, "before"))
        .digest(),
      record.sha256Before,
    ) &&
    equalBytes(
      sha256()
        .update(withRuns(record, found, "after"))
        .digest(),
      record.sha256After,
    );
  if (!isProven) return "foreign";
  if (young === 0) return "before";
  return old === 0 ? "after" : "mixed";
}

function fits({ offset, before, after }: ChangedRun, { length }: WriteRecord): boolean {
  return (
    Number.isSafeInteger(offset) &&
    offset >= 0 &&
    before.length === after.length &&
    offset + after.length <= length
  );
}

/** `found` with all changing bytes put to one side. */
export function withRuns(record: WriteRecord, found: Uint8Array, side: "before" | "after"): Uint8Array {
  const bytes = found.slice();
  for (const run of record.runs) bytes.set(run[side], run.offset);
  return bytes;
}
