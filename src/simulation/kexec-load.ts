/**
 * The kernel's side of kexec_load with KEXEC_ON_CRASH: do_kexec_load (kernel/kexec.c), kimage_alloc_init and
 * sanity_check_segment_list (kernel/kexec_core.c), machine_kexec_prepare (arch/x86), as in v5.10, v6.1 and v6.12.
 *
 * The old image is gone before anything is checked but flags and the number of segments. What it left in crash memory stays
 * there, its control pages too, until something is written over it.
 */
import type { PhysicalRange } from "../layout/range.ts";
import { takeControlPages, pageTablesFor, writeControlPages } from "./control-pages.ts";
import { nextKimageAddress, readLoadedKimage, setImagePointer, writeKimage } from "./kernel-data.ts";
import type { SparseMemory } from "./memory.ts";
import { identityMap, type SystemState, usableRam } from "./system.ts";

/** What the call can fail with; `EBUSY` where the kexec lock is taken. */
export type KexecErrno = "EBUSY" | "EINVAL" | "EADDRNOTAVAIL" | "ENOMEM";

/** `struct kexec_segment`; `bufsz` is the buffer's length. */
export interface KexecSegment {
  readonly buffer: Uint8Array;
  readonly mem: bigint;
  readonly memsz: bigint;
}

/** Arguments of the call; flags without the architecture's. */
export interface KexecCall {
  readonly entry: bigint;
  readonly segments: readonly KexecSegment[];
  readonly flags: number;
}

/** A moment inside of the call, at which a panic on another CPU finds what is there then. */
export type KexecStep = "dropped" | "prepared" | "copied" | "installed";

const ON_CRASH = 1;
/** KEXEC_UPDATE_ELFCOREHDR, on kernels that have a handler. */
const UPDATE_ELFCOREHDR = 4;
const SEGMENT_MAX = 16;
const PAGE = 4096n;
const LIMIT = 1n << 64n;
/** KEXEC_DESTINATION_MEMORY_LIMIT: MAXMEM - 1 with four levels of page tables. */
const DESTINATION_LIMIT = (1n << 46n) - 1n;

/** Loads, over what was there. @returns undefined where it did, and else why not. */
export function kexecLoad(
  memory: SparseMemory,
  system: SystemState,
  { entry, segments, flags }: KexecCall,
  step: (step: KexecStep) => void = () => undefined,
): KexecErrno | undefined {
  const { blueprint, kernel } = system;
  const known = ON_CRASH | (kernel.crashElfcorehdrSize === undefined ? 0 : UPDATE_ELFCOREHDR);
  if ((flags & ~known) !== 0 || (flags & ON_CRASH) === 0 || segments.length > SEGMENT_MAX) return "EINVAL";
  const old = readLoadedKimage(memory, blueprint);
  setImagePointer(memory, blueprint, undefined);
  step("dropped");
  if (segments.length === 0) return undefined;
  const crash = blueprint.crashkRes;
  if (!crash || entry < crash.start || entry >= crash.end) return "EADDRNOTAVAIL";
  const insane = checkSegments(segments, crash, usableRam(system));
  if (insane) return insane;

  const ranges = segments.map(({ mem, memsz }) => ({ start: mem, end: mem + memsz }));
  const tables = pageTablesFor([...identityMap(system), ...ranges], blueprint.paging);
  const pages = takeControlPages(crash, ranges, tables);
  if (!pages) return "ENOMEM";
  writeControlPages(memory, pages);
  step("prepared");
  for (const { buffer, mem, memsz } of segments) {
    // kimage_load_crash_segment: page by page, what the buffer has not is cleared.
    const content = new Uint8Array(Number(memsz));
    content.set(buffer);
    memory.poke(mem, content);
    step("copied");
  }
  const address = nextKimageAddress(blueprint, old?.address);
  writeKimage(memory, blueprint, { address, entry, segments: ranges, controlPages: spanOf(pages) });
  setImagePointer(memory, blueprint, address);
  step("installed");
  return undefined;
}

/** From the first control page to the end of the last; segments may lie between them. */
export function spanOf(pages: readonly bigint[]): PhysicalRange {
  return { start: pages[0]!, end: pages.at(-1)! + PAGE };
}

/** sanity_check_segment_list, in its order. */
function checkSegments(
  segments: readonly KexecSegment[],
  crash: PhysicalRange,
  ram: bigint,
): KexecErrno | undefined {
  for (const { mem, memsz } of segments) {
    const end = mem + memsz;
    if (end >= LIMIT || mem % PAGE !== 0n || end % PAGE !== 0n || end >= DESTINATION_LIMIT)
      return "EADDRNOTAVAIL";
  }
  const overlap = segments.some((a, i) =>
    segments.slice(0, i).some((b) => a.mem + a.memsz > b.mem && a.mem < b.mem + b.memsz),
  );
  if (overlap || segments.some(({ buffer, memsz }) => BigInt(buffer.length) > memsz)) return "EINVAL";
  const half = ram / PAGE / 2n;
  const pages = segments.map(({ memsz }) => (memsz + PAGE - 1n) / PAGE);
  if (pages.some((count) => count > half) || pages.reduce((sum, count) => sum + count, 0n) > half)
    return "EINVAL";
  if (segments.some(({ mem, memsz }) => mem < crash.start || mem + memsz > crash.end)) return "EADDRNOTAVAIL";
  return undefined;
}
