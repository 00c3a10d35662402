/** Where segments go in crash memory. */
import type { PhysicalRange } from "../layout/range.ts";
import { alignDown, alignUp } from "../image/bytes.ts";
import { SimulationError } from "./error.ts";

const PAGE = 4096n;

/** Free room of one crash memory range, as segments are placed into it one by one. */
export class CrashRoom {
  readonly #range: PhysicalRange;
  readonly #taken: PhysicalRange[] = [];

  constructor(range: PhysicalRange) {
    this.#range = range;
  }

  /** The lowest place for `size` bytes (locate_mem_hole_bottom_up, kernel/kexec_file.c). */
  lowest(size: bigint, alignment: bigint = PAGE): PhysicalRange {
    for (let start = alignUp(this.#range.start, alignment); ;) {
      const place = { start, end: start + size };
      const clash = this.#clash(place);
      if (!clash) return this.#take(place);
      start = alignUp(clash.end, alignment);
    }
  }

  /**
   * The highest place for `size` bytes, the last page of the range left out: the kernel counts from the range's
   * inclusive end and rounds down (locate_mem_hole_top_down), as seen in loaded images.
   */
  highestOfKernel(size: bigint, alignment: bigint = PAGE): PhysicalRange {
    return this.#highest(this.#range.end - 1n, size, alignment);
  }

  /** The highest place for `size` bytes (locate_hole with hole_end -1, kexec/kexec.c). */
  highest(size: bigint, alignment: bigint = PAGE): PhysicalRange {
    return this.#highest(this.#range.end, size, alignment);
  }

  #highest(end: bigint, size: bigint, alignment: bigint): PhysicalRange {
    for (let start = alignDown(end - size, alignment); ;) {
      const place = { start, end: start + size };
      const clash = this.#clash(place);
      if (!clash) return this.#take(place);
      start = alignDown(clash.start - size, alignment);
    }
  }

  #clash(place: PhysicalRange): PhysicalRange | undefined {
    if (place.start < this.#range.start || place.end > this.#range.end)
      throw new SimulationError(
        "that load",
        `crash memory (${(this.#range.end - this.#range.start) >> 20n} MiB) has no room for a segment of ${place.end - place.start} bytes`,
      );
    return this.#taken.find((other) => place.start < other.end && other.start < place.end);
  }

  #take(place: PhysicalRange): PhysicalRange {
    this.#taken.push(place);
    return place;
  }
}
