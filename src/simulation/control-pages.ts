/**
 * Control pages of an image: taken as the kernel takes them, and written, whatever lies there.
 *
 * Written from kernel/kexec_core.c (kimage_alloc_crash_control_pages) and arch/x86/mm/ident_map.c, and not from src/image, so
 * that what both say alike was found twice. Their content is stood in for by a chain: each page names the next one, as
 * page tables do, and the rest of it is noise.
 */
import { equalBytes, u64, u64Bytes } from "../image/bytes.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { noise } from "./bytes.ts";
import type { SparseMemory } from "./memory.ts";

/** How the running kernel maps memory. */
export interface Paging {
  /** Levels of its page tables; 5 is `la57`. */
  readonly levels: 4 | 5;
  /** Whether it maps with pages of 1 GiB. */
  readonly gibPages: boolean;
}

const PAGE = 4096n;
/** Longer chains are none: 64 TiB without pages of 1 GiB take so many tables. */
const MAX_PAGES = 1 << 17;

/** Page tables below the root that the identity map of `mapped` takes: a set of the entries that are filled, by level. */
export function pageTablesFor(mapped: readonly PhysicalRange[], { levels, gibPages }: Paging): number {
  const filled = new Set<string>();
  for (const { start, end } of mapped) {
    for (let gib = start >> 30n; gib << 30n < end; gib++) {
      if (!gibPages) filled.add(`pmd ${gib}`);
      filled.add(`pud ${gib >> 9n}`);
      if (levels === 5) filled.add(`p4d ${gib >> 18n}`);
    }
  }
  return filled.size;
}

/** A control page allocator as `image->control_page` makes it: it only goes up. */
class ControlPages {
  readonly #crash: PhysicalRange;
  readonly #segments: readonly PhysicalRange[];
  /** `control_page`: the last byte of the last one. */
  #last: bigint;

  constructor(crash: PhysicalRange, segments: readonly PhysicalRange[]) {
    this.#crash = crash;
    this.#segments = segments;
    this.#last = crash.start;
  }

  /** The first of `1 << order` pages; undefined where no hole is left. */
  take(order: number): bigint | undefined {
    const size = PAGE << BigInt(order);
    const align = (address: bigint): bigint => (address + size - 1n) & ~(size - 1n);
    let holeStart = align(this.#last);
    let holeEnd = holeStart + size - 1n;
    while (holeEnd <= this.#crash.end - 1n) {
      let i = 0;
      for (; i < this.#segments.length; i++) {
        const first = this.#segments[i]!.start;
        const last = this.#segments[i]!.end - 1n;
        if (holeEnd >= first && holeStart <= last) {
          holeStart = align(last);
          holeEnd = holeStart + size - 1n;
          break;
        }
      }
      if (i === this.#segments.length) {
        this.#last = holeEnd;
        return holeStart;
      }
    }
    return undefined;
  }
}

/**
 * The pages that the kernel takes for an image with `segments`: two for code and root, `tables`, and one for VMCOREINFO.
 *
 * @returns undefined where there is no room for all of them.
 */
export function takeControlPages(
  crash: PhysicalRange,
  segments: readonly PhysicalRange[],
  tables: number,
): readonly bigint[] | undefined {
  const pages = new ControlPages(crash, segments);
  const code = pages.take(1);
  if (code === undefined) return undefined;
  const taken = [code, code + PAGE];
  for (let i = 0; i < tables + 1; i++) {
    const page = pages.take(0);
    if (page === undefined) return undefined;
    taken.push(page);
  }
  return taken;
}

/** Writes `pages`, each naming the one behind it. */
export function writeControlPages(memory: SparseMemory, pages: readonly bigint[]): void {
  pages.forEach((page, i) => {
    const bytes = noise(Number(PAGE), i + 11);
    bytes.set(u64Bytes(pages[i + 1] ?? 0n), 0);
    memory.poke(page, bytes);
  });
}

/** Whether the chain that begins at `first` is whole: a panic runs through it. */
export function isControlChain(memory: SparseMemory, first: bigint): boolean {
  let page = first;
  for (let i = 0; i < MAX_PAGES; i++) {
    const bytes = memory.peek(page, Number(PAGE));
    if (!equalBytes(bytes.subarray(8), noise(Number(PAGE), i + 11).subarray(8))) return false;
    page = u64(bytes, 0);
    if (page === 0n) return true;
  }
  return false;
}
