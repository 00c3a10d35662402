/** That a machine's image is still the one that was looked at: asked before a pause, and again in it. */
import { encodeCoreHeader } from "../elfcore/encode.ts";
import { cpuNotes } from "../elfcore/kinds.ts";
import { hex } from "../elfcore/hex.ts";
import { equalBytes, u32, u64 } from "../image/bytes.ts";
import { ImageError } from "../image/error.ts";
import { type Kimage, kimageBytes, parseKimage } from "../image/kimage.ts";
import type { CaptureImage } from "../image/locate.ts";
import type { PhysicalMemory } from "../image/memory.ts";
import { encodeRegions } from "../image/purgatory.ts";

/** CPU notes that are looked at in the pause: a panic fills those of all CPUs, and each look costs time. */
const MAX_CPU_NOTES = 8;

/** A place in memory, and room for what is read there. */
export class Place {
  readonly address: bigint;
  readonly #memory: PhysicalMemory;
  readonly #room: Uint8Array;

  constructor(memory: PhysicalMemory, address: bigint, length: number) {
    this.#memory = memory;
    this.address = address;
    this.#room = new Uint8Array(length);
  }

  /** What is there now; valid until the next call. */
  async read(): Promise<Uint8Array> {
    return this.#memory.read(this.address, this.#room.length, this.#room);
  }
}

/** Bytes that should be at a place. */
interface Expected {
  readonly what: string;
  readonly place: Place;
  readonly bytes: Uint8Array;
}

/**
 * The check of one image. All that it needs is made beforehand: what a pause leaves to be collected lengthens pauses,
 * for a collection in one takes longer (0.7 to 2.5 ms) than all that the pause is there for (0.3 ms).
 */
export class ImageCheck {
  readonly #image: CaptureImage;
  readonly #expected: readonly Expected[];
  readonly #notes: readonly Place[];
  readonly #pointer: Place | undefined;
  readonly #kimage: Place | undefined;
  /** The `struct kimage` that was found to be the image's. */
  #known: Uint8Array | undefined;

  constructor(memory: PhysicalMemory, image: CaptureImage) {
    const { digest, header, headerAddress, kernel, kimage } = image;
    this.#image = image;
    const expected = (what: string, address: bigint, bytes: Uint8Array): Expected => {
      return { what, place: new Place(memory, address, bytes.length), bytes };
    };
    this.#expected = [
      expected("core header", headerAddress, encodeCoreHeader(header)),
      ...(digest.state === "covers-header"
        ? [
            expected("digest's region table", digest.table.address, encodeRegions(digest.table.regions)),
            expected("digest", digest.address, digest.value),
          ]
        : []),
    ];
    const notes = cpuNotes(header).slice(0, MAX_CPU_NOTES);
    this.#notes = notes.map(({ p_paddr }) => new Place(memory, p_paddr, 4));
    if (kernel?.imagePointerAddress === undefined || kernel.pageOffset === undefined || !kimage) return;
    this.#pointer = new Place(memory, kernel.imagePointerAddress, 8);
    this.#kimage = new Place(memory, kimage.address, kimageBytes(kimage.segments.length));
  }

  /**
   * The kernel's pointer still leads to this image, its header, region table and digest are what they were, and no
   * panic is under way.
   *
   * @throws {ImageError} `changed`, or `panicking`.
   */
  async run(): Promise<void> {
    // What is read does not depend on what was read before it: all of it is asked for at once.
    const [, bytes, used] = await Promise.all([
      this.#checkPointer(),
      Promise.all(this.#expected.map(async ({ place }) => place.read())),
      Promise.all(this.#notes.map(async (note) => note.read())),
    ]);
    for (const [i, { what, place, bytes: wanted }] of this.#expected.entries()) {
      if (!equalBytes(bytes[i]!, wanted))
        throw new ImageError(
          "changed",
          `The ${what} at ${hex(place.address)} changed before the install; look again`,
        );
    }
    // A CPU's note is empty until a panic stops the CPU (crash_save_cpu), and that comes before purgatory hashes.
    const panicking = this.#notes.find((_, i) => u32(used[i]!, 0) !== 0);
    if (panicking !== undefined)
      throw new ImageError(
        "panicking",
        `Nothing was written: the CPU note at ${hex(panicking.address)} is in use, so the guest is panicking already`,
      );
  }

  /** @throws {ImageError} `changed` where the kernel's pointer leads elsewhere by now, or to other segments. */
  async #checkPointer(): Promise<void> {
    const { kernel, kimage, crashMemory } = this.#image;
    if (!this.#pointer || !this.#kimage || !kimage) return;
    const [place, bytes] = await Promise.all([this.#pointer.read(), this.#kimage.read()]);
    // The kernel holds the pointer at NULL while it loads or rewrites an image: then it is not our turn.
    const pointer = u64(place, 0);
    if (pointer === 0n)
      throw new ImageError("changed", "The capture image is being replaced or was unloaded; look again");
    const leadsHere = kernel?.pageOffset !== undefined && kimage.address === pointer - kernel.pageOffset;
    if (leadsHere && this.#known && equalBytes(bytes, this.#known)) return;
    const now = leadsHere ? parseKimage(kimage.address, bytes, crashMemory) : undefined;
    if (!now || !sameSegments(now, kimage))
      throw new ImageError("changed", "Another capture image was loaded; look again");
    this.#known = bytes.slice();
  }
}

function sameSegments(a: Kimage, b: Kimage): boolean {
  return segmentsText(a) === segmentsText(b);
}

function segmentsText({ entry, segments }: Kimage): string {
  return `${entry} ${segments.map(({ address, size }) => `${address}+${size}`).join(" ")}`;
}
