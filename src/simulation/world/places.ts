/** Where DIMMs go in hot-pluggable memory, counted in memory blocks from its lowest address. */
import { formatBytes } from "../../layout/range.ts";
import { BLOCK_SIZE, MAX_HOT_MEMORY } from "../dimms.ts";
import { SimulationError } from "../error.ts";

/** Blocks `first` to `first + blocks`. */
export interface DimmPlace {
  readonly first: number;
  readonly blocks: number;
}

const LIMIT = Number(MAX_HOT_MEMORY / BLOCK_SIZE);

/** The places that are taken. */
export class DimmPlaces {
  readonly #taken: DimmPlace[] = [];

  /**
   * Takes a place for `blocks`: the lowest that is free, as QEMU does, or `first`.
   *
   * @throws {SimulationError} where it lies behind the machine's limit, or somebody else is there.
   */
  take(blocks: number, first: number = this.#lowest(blocks)): DimmPlace {
    const place = { first, blocks };
    const what = `a DIMM of ${formatBytes(BigInt(blocks) * BLOCK_SIZE)}`;
    if (first + blocks > LIMIT)
      throw new SimulationError(
        what,
        `it is larger than what is left of the machine's limit of ${formatBytes(MAX_HOT_MEMORY)}`,
      );
    const other = this.#taken.find(
      (taken) => first < taken.first + taken.blocks && taken.first < first + blocks,
    );
    if (other)
      throw new SimulationError(
        `${what} at block ${first}`,
        `it overlaps the one of blocks ${other.first} to ${other.first + other.blocks - 1}`,
      );
    this.#taken.push(place);
    this.#taken.sort((a, b) => a.first - b.first);
    return place;
  }

  /** Gives a place back. */
  free(place: DimmPlace): void {
    this.#taken.splice(this.#taken.indexOf(place), 1);
  }

  #lowest(blocks: number): number {
    let first = 0;
    for (const place of this.#taken) {
      if (first + blocks <= place.first) break;
      first = place.first + place.blocks;
    }
    return first;
  }
}
