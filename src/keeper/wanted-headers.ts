/** The headers that a machine should have, by what an audit found: the best one first, then what fits where that does not. */
import type { NoteLocation } from "../elfcore/build.ts";
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { type CoreHeader, programHeaderRoom } from "../elfcore/header.ts";
import { cpuNotes } from "../elfcore/kinds.ts";
import { equalBytes } from "../image/bytes.ts";
import type { CaptureImage } from "../image/locate.ts";
import { headerWithCpuNotes } from "../layout/cpu-notes.ts";
import type { MachineLayout } from "../layout/machine.ts";
import { wantedHeader } from "../layout/wanted.ts";
import type { Audit } from "./audit.ts";

/**
 * Headers that describe what the machine has; none where the loaded one already does. Where CPUs that are there would
 * have no room in it: first the one that has them all, which has to move, then what fits.
 */
export function wantedHeaders({ image, missing, stale, cpus, layout }: Audit): readonly CoreHeader[] {
  if (!image) return [];
  const notes = knownNotes(image, layout);
  const hasAllNotes = cpus.undescribed.length === 0 && cpus.missing.length === 0;
  if (missing.isEmpty && stale.isEmpty && hasAllNotes) return [];
  const memory = wantedHeader(image.header, layout);
  const room = programHeaderRoom(image.headerCapacity);
  const fitting = headerWithCpuNotes(memory, { notes, present: cpus.present, room });
  const lacking = Math.min(cpus.present, notes.length) > cpuNotes(fitting).length;
  const before = encodeCoreHeader(image.header);
  return [...(lacking ? [withAllNotes(memory, notes)] : []), fitting].filter(
    (wanted) => !equalBytes(encodeCoreHeader(wanted), before),
  );
}

/** `header` with the notes of all possible CPUs, as far as they are known: for one that gets a new place. */
export function withAllCpus(header: CoreHeader, { possibleCpus }: CaptureImage): CoreHeader {
  return possibleCpus.state === "known" ? withAllNotes(header, possibleCpus.notes) : header;
}

function withAllNotes(header: CoreHeader, notes: readonly NoteLocation[]): CoreHeader {
  return headerWithCpuNotes(header, { notes, present: 0, room: Number.POSITIVE_INFINITY });
}

/**
 * Notes by CPU number: of all possible CPUs where the kernel's tables tell; else of those that are there, which sysfs
 * tells from inside; else none.
 */
function knownNotes({ possibleCpus }: CaptureImage, { inside }: MachineLayout): readonly NoteLocation[] {
  if (possibleCpus.state === "known") return possibleCpus.notes;
  return [...(inside?.cpuNotes ?? [])]
    .sort(([a], [b]) => a - b)
    .map(([, { address, size }]) => ({ paddr: address, size }));
}
