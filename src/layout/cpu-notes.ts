/** CPU notes of a core header, against the CPUs that the machine's kernel may ever have. */
import { noteHeader, type NoteLocation } from "../elfcore/build.ts";
import type { CoreHeader } from "../elfcore/header.ts";
import { cpuNotes } from "../elfcore/kinds.ts";

/**
 * Program headers that notes of CPUs which are not there yet leave free, for memory still to come. QEMU's guests are
 * given 16 to 32 memory slots by most; the segment of kexec_file_load up to 6.5 has room for 72 program headers.
 */
export const ROOM_FOR_MEMORY = 32;

/** A possible CPU of which the header has no note. */
export interface UndescribedCpu {
  /** The kernel's number of it. */
  readonly cpu: number;
  readonly note: NoteLocation;
}

/** Possible CPUs of which `header` has no note, by number. @param notes - of all possible CPUs, by number. */
export function undescribedCpus(
  header: CoreHeader,
  notes: readonly NoteLocation[],
): readonly UndescribedCpu[] {
  const described = new Set(cpuNotes(header).map(({ p_paddr }) => p_paddr));
  return notes.flatMap((note, cpu) => (described.has(note.paddr) ? [] : [{ cpu, note }]));
}

/** What {@link headerWithCpuNotes} adds notes for. */
export interface CpuNotesRequest {
  /** Of all possible CPUs, by number. */
  readonly notes: readonly NoteLocation[];
  /** CPUs that are there. */
  readonly present: number;
  /** Program headers that a header may have in its segment. */
  readonly room: number;
}

/**
 * `header` with a note for every possible CPU, in the order of their numbers, which is the form of Linux >= 6.6
 * (a396d0f81b1c, "crash: change crash_prepare_elf64_headers() to for_each_possible_cpu()", in v6.6). The notes of CPUs
 * that are not there are zero, and the capture kernel leaves them out.
 *
 * Where not all have room: the lowest numbers first, for Linux gives a new CPU the lowest number that it has not given
 * yet. Notes for as many CPUs as are there may take all the room that is left, the others leave {@link ROOM_FOR_MEMORY}.
 *
 * @returns `header` itself where nothing is to be added.
 */
export function headerWithCpuNotes(
  header: CoreHeader,
  { notes, present, room }: CpuNotesRequest,
): CoreHeader {
  const undescribed = undescribedCpus(header, notes);
  const free = Math.max(0, room - header.programHeaders.length);
  const needed = Math.max(0, present - cpuNotes(header).length);
  const count = Math.max(Math.min(needed, free), free - ROOM_FOR_MEMORY);
  const added = new Map(undescribed.slice(0, Math.max(0, count)).map(({ note }) => [note.paddr, note]));
  if (added.size === 0) return header;
  const existing = new Map(cpuNotes(header).map((programHeader) => [programHeader.p_paddr, programHeader]));
  const listed = notes.flatMap((note) => {
    const had = existing.get(note.paddr);
    if (had) return [had];
    return added.has(note.paddr) ? [noteHeader(note)] : [];
  });
  return {
    fileHeader: header.fileHeader,
    programHeaders: [...listed, ...header.programHeaders.slice(cpuNotes(header).length)],
  };
}
