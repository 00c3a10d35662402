/** A guest's RAM as far as the watching loop looks at it, in one buffer: addresses are offsets. */
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import type { PollPlan } from "../../../src/lab/window/poll.ts";
import { sample } from "../../elfcore/samples.ts";

export const PAGE_OFFSET = 0xffff_8880_0000_0000n;
export const PLACES = {
  image: 0x100n,
  lock: 0x110n,
  pages: 0x120n,
  pageOffsetBase: 0x130n,
  onlineCpus: 0x140n,
  lockKind: "counter",
} as const;
const KIMAGE = 0x1000;
const HEADER = 0x4000;
export const RAM_SIZE = 0x10000;

export class WatchedRam {
  readonly bytes: Buffer = Buffer.alloc(RAM_SIZE);

  constructor() {
    this.bytes.writeBigUInt64LE(PAGE_OFFSET, Number(PLACES.pageOffsetBase));
    this.pages(1000);
  }

  pages(count: number): void {
    this.bytes.writeBigUInt64LE(BigInt(count), Number(PLACES.pages));
  }

  lock(word: bigint): void {
    this.bytes.writeBigUInt64LE(word, Number(PLACES.lock));
  }

  unload(): void {
    this.bytes.writeBigUInt64LE(0n, Number(PLACES.image));
  }

  /** An image whose second segment is the header; its `struct kimage` lies at `kimage`. */
  load(header: Uint8Array = encodeCoreHeader(sample), kimage: number = KIMAGE): void {
    if (kimage < RAM_SIZE) this.#kimage(kimage);
    this.bytes.set(header, HEADER);
    this.bytes.writeBigUInt64LE(PAGE_OFFSET + BigInt(kimage), Number(PLACES.image));
  }

  #kimage(at: number): void {
    this.bytes.writeBigUInt64LE(2n, at + 56);
    this.bytes.writeBigUInt64LE(0x3000n, at + 64 + 16);
    this.bytes.writeBigUInt64LE(BigInt(HEADER), at + 64 + 32 + 16);
  }

  /** What a `struct kimage` in other memory looks like. */
  static kimage(): Buffer {
    const ram = new WatchedRam();
    ram.#kimage(0);
    return ram.bytes.subarray(0, 64 + 16 * 32);
  }
}

export function planOf(overrides: Partial<PollPlan> = {}): PollPlan {
  const { image, lock, pages, lockKind } = PLACES;
  return {
    pieces: [{ path: "ram", start: 0n, end: BigInt(RAM_SIZE), shift: 0n }],
    image,
    lock,
    lockKind,
    pages,
    pageOffset: PAGE_OFFSET,
    intervalMs: 0,
    control: new Int32Array(new SharedArrayBuffer(12)),
    ...overrides,
  };
}
