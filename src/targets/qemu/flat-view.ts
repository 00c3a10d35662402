/**
 * Reader of QEMU's `info mtree -f`: where each piece of each memory block lies in guest physical memory.
 *
 * It shows the map as it is (holes below 4 GiB, PAM registers, DIMMs, whatever `max-ram-below-4g` says), so
 * that no split of any machine type has to be guessed. Text form: QEMU system/memory.c, mtree_print_flatview.
 */
import type { PhysicalRange } from "../../layout/range.ts";

/** What QEMU calls a region: `ram`, `rom` (also RAM that is write-protected), `romd`, `ramd` (device RAM), `i/o`. */
export type FlatRangeKind = "ram" | "rom" | "romd" | "ramd" | "i/o";

/** One line of a flat view: the part of memory region `name` that the guest sees at `start`. */
export interface FlatRange extends PhysicalRange {
  readonly kind: FlatRangeKind;
  /** Non-volatile, an NVDIMM. */
  readonly nonVolatile: boolean;
  /** Priority of the region among its siblings: PCI BARs have 1, RAM and DIMMs 0. */
  readonly priority: number;
  /** The memory region's name; for a memory backend its id. */
  readonly name: string;
  /** Where in the region this part begins, bytes. */
  readonly offset: bigint;
}

/** `info mtree -f` has another form than the one we know. */
export class FlatViewError extends Error {
  override readonly name = "FlatViewError";
}

const ADDRESS_SPACE = /^ AS "(.*)", root: /;
const RANGE =
  /^ {2}([0-9a-f]{16})-([0-9a-f]{16}) \(prio (-?\d+), (nv-)?(ram|rom|romd|ramd|i\/o)\): (.*?)(?: @([0-9a-f]{16}))?(?: (?:KVM|HVF|WHPX|NVMM|MSHV|Xen))?$/;

/**
 * The flat view of one address space, `memory` (what the first CPU and every device sees) unless told.
 *
 * @param text what HMP `info mtree -f` printed.
 * @returns ranges as QEMU sorts them: ascending and disjoint.
 * @throws {FlatViewError} with the line's number, where there is no such view or a line of it is unknown.
 */
export function parseFlatView(text: string, addressSpace: string = "memory"): readonly FlatRange[] {
  const lines = text.split(/\r?\n/);
  let inside = false;
  let found: FlatRange[] | undefined;
  for (const [index, line] of lines.entries()) {
    if (line.startsWith("FlatView #")) {
      if (found !== undefined) break;
      inside = false;
      continue;
    }
    if (ADDRESS_SPACE.exec(line)?.[1] === addressSpace) {
      inside = true;
      found ??= [];
      continue;
    }
    if (!inside || found === undefined || !line.startsWith("  ")) continue;
    if (line === "  No rendered FlatView") continue;
    found.push(parseRange(line, index + 1, found.at(-1)));
  }
  if (found === undefined) {
    throw new FlatViewError(
      `Cannot find address space "${addressSpace}" in ${lines.length} lines of info mtree -f`,
    );
  }
  return found;
}

function parseRange(line: string, number: number, before: FlatRange | undefined): FlatRange {
  const fields = RANGE.exec(line);
  const [, first, last, priority, nonVolatile, kind, name, offset] = fields ?? [];
  if (first === undefined || last === undefined || name === undefined || !isKind(kind)) {
    throw new FlatViewError(`Cannot read line ${number} of info mtree -f: "${line.slice(0, 120)}"`);
  }
  const start = BigInt(`0x${first}`);
  // QEMU prints the last address.
  const end = BigInt(`0x${last}`) + 1n;
  if (end <= start || (before !== undefined && start < before.end)) {
    throw new FlatViewError(
      `Line ${number} of info mtree -f is empty, overlaps or goes back: "${line.slice(0, 120)}"`,
    );
  }
  return {
    start,
    end,
    kind,
    nonVolatile: nonVolatile !== undefined,
    priority: Number(priority),
    name,
    offset: offset === undefined ? 0n : BigInt(`0x${offset}`),
  };
}

function isKind(text: string | undefined): text is FlatRangeKind {
  return text === "ram" || text === "rom" || text === "romd" || text === "ramd" || text === "i/o";
}
