/** Proves with a few pages that a file is a guest's RAM. */
import { setTimeout as delay } from "node:timers/promises";
import type { QmpSession } from "./qmp-session.ts";
import { examine } from "./pmemsave.ts";
import type { RamPiece } from "./ram-map.ts";

const PAGE = 4096;
/** Pages looked at in the file to find non-zero ones, and pages compared. */
export const SAMPLES = 256;
const WANTED = 3;
/** A running guest changes pages between two looks: how often one page, and how many others, are tried. */
const TRIES = 3;
const MOST_PAGES = 12;
/** How often a guest that has hardly written anything is looked at, and how long after the last time. */
const LOOKS = 10;
const LOOK_AGAIN_MS = 20;

/** Where a block can be read: the part of RamFile that is needed here. */
export interface BlockReader {
  read(offset: bigint, into: Uint8Array): void;
}

interface Page {
  readonly address: bigint;
  readonly offset: bigint;
  readonly zero: boolean;
}

/**
 * Compares pages of `file` with what QEMU shows at the same guest addresses.
 *
 * @param pieces where the block lies in the guest.
 * @param mapped true where the kernel says that QEMU has this very file, or memory, mapped: then a block that is all
 *   zeros (nothing has been written yet) is accepted; else that proves nothing and is not.
 * @returns `undefined` where they agree, else the doubt, a clause about the file.
 */
export async function verifyBlock(
  qmp: QmpSession,
  pieces: readonly RamPiece[],
  file: BlockReader,
  mapped: boolean,
): Promise<string | undefined> {
  for (let look = 1; ; look++) {
    const pages = samplePages(pieces, file);
    const filled = pages.filter((page) => !page.zero);
    const doubt = await doubtAbout(qmp, pages, filled, file, mapped);
    // A guest at its very start has a page or two, which its firmware writes to all the time: soon there are more.
    if (doubt === undefined || !mapped || filled.length >= WANTED || look === LOOKS) return doubt;
    await delay(LOOK_AGAIN_MS);
  }
}

async function doubtAbout(
  qmp: QmpSession,
  pages: readonly Page[],
  filled: readonly Page[],
  file: BlockReader,
  mapped: boolean,
): Promise<string | undefined> {
  if (pages.length === 0) return mapped ? undefined : "is not mapped in the guest yet";
  if (filled.length === 0 && !mapped)
    return "is all zeros so far, which does not prove that it is the guest's RAM";
  // Zeros agree with any guest's untouched memory: they count only where there is nothing else.
  const candidates = spread(filled.length > 0 ? filled : pages).slice(0, MOST_PAGES);
  const wanted = Math.min(WANTED, candidates.length);
  let agreed = 0;
  for (const page of candidates) {
    if (await samePage(qmp, page, file)) agreed++;
    if (agreed === wanted) return undefined;
  }
  return `has other contents than the guest (${agreed} of ${candidates.length} pages agree)`;
}

/** First, middle and last come first. */
function spread(pages: readonly Page[]): readonly Page[] {
  const first = [pages[0], pages[Math.floor(pages.length / 2)], pages.at(-1)].filter(
    (page) => page !== undefined,
  );
  return [...new Set([...first, ...pages])];
}

/** Pages at even distances over all pieces, the first page of each piece among them. */
function samplePages(pieces: readonly RamPiece[], file: BlockReader): readonly Page[] {
  const pages: Page[] = [];
  const buffer = new Uint8Array(PAGE);
  for (const piece of pieces) {
    const count = Number((piece.end - piece.start) / BigInt(PAGE));
    const step = Math.max(1, Math.ceil(count / SAMPLES));
    for (let index = 0; index < count; index += step) {
      const at = BigInt(index) * BigInt(PAGE);
      file.read(piece.offset + at, buffer);
      pages.push({
        address: piece.start + at,
        offset: piece.offset + at,
        zero: buffer.every((byte) => byte === 0),
      });
    }
  }
  return pages;
}

async function samePage(qmp: QmpSession, page: Page, file: BlockReader): Promise<boolean> {
  const buffer = Buffer.alloc(PAGE);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    file.read(page.offset, buffer);
    const before = Buffer.from(buffer);
    const shown = await examine(qmp, page.address, PAGE);
    file.read(page.offset, buffer);
    if (before.equals(shown) || buffer.equals(shown)) return true;
  }
  return false;
}
