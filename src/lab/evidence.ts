/**
 * Evidence from the capture kernel's side: what /proc/vmcore describes, and whether its pages are the guest's.
 *
 * A dump is complete when its pages can be read, not when its header is right, so pages are read through
 * /proc/vmcore in the capture kernel and, at the same physical address, from guest RAM from outside.
 */
import { createHash } from "node:crypto";
import { decodeCoreHeader, programHeaderCount } from "../elfcore/decode.ts";
import { type CoreHeader, coreHeaderSize, EHDR_SIZE, PT_LOAD } from "../elfcore/header.ts";
import { isKernelText } from "../elfcore/kinds.ts";
import { PAGE_SIZE } from "../image/bytes.ts";
import type { PhysicalMemory } from "../image/memory.ts";
import { describedMemory } from "../layout/described.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { AgentChannel } from "./channel.ts";
import { LostGuestError } from "./errors.ts";

/** Pages compared per hot-added DIMM, its first and its last among them. */
export const PAGES_PER_DIMM = 64;
/** Reading /proc/vmcore costs 4 to 5 s per MiB on TCG: 64 pages take about a second. */
const READ_TIMEOUT_MS = 120_000;

/** What the capture kernel offers as a dump. */
export interface Vmcore {
  readonly header: CoreHeader;
  /** Memory that its PT_LOADs cover. */
  readonly described: RangeSet;
}

/** Pages of one DIMM, as compared. */
export interface PageEvidence {
  readonly range: PhysicalRange;
  readonly sampled: number;
  /** Sampled pages that guest RAM holds with other than zeros: only those prove something. */
  readonly nonZero: number;
  /** Pages that were read through /proc/vmcore and are byte for byte the guest's. */
  readonly equal: number;
  /** Pages that were read and differ. */
  readonly different: number;
  /** Pages that the dump does not have, or that /proc/vmcore failed to read. */
  readonly unreadable: number;
}

/** Reads the header of /proc/vmcore in the capture kernel; undefined where that kernel has no vmcore. */
export async function readVmcore(capture: AgentChannel): Promise<Vmcore | undefined> {
  if ((await capture.run("[ -s /proc/vmcore ]")).status !== 0) return undefined;
  const ehdr = await readVmcoreBytes(capture, 1);
  const size = coreHeaderSize(programHeaderCount(ehdr.subarray(0, EHDR_SIZE)));
  const header = decodeCoreHeader(await readVmcoreBytes(capture, Math.ceil(size / PAGE_SIZE)));
  return { header, described: describedMemory(header) };
}

async function readVmcoreBytes(capture: AgentChannel, pages: number): Promise<Uint8Array> {
  const { status, output } = await capture.run(
    `dd if=/proc/vmcore bs=${PAGE_SIZE} count=${pages} 2>/dev/null`,
  );
  if (status !== 0 || output.length < EHDR_SIZE)
    throw new LostGuestError("The capture kernel could not read /proc/vmcore's header");
  return output;
}

/** Physical page addresses to compare in `range`: first, last, and the others spread evenly with a seeded jitter. */
export function samplePages(range: PhysicalRange, count: number, random: () => number): readonly bigint[] {
  const pages = Number((range.end - range.start) / BigInt(PAGE_SIZE));
  const wanted = Math.min(count, pages);
  const chosen = new Set<number>([0, pages - 1]);
  const stride = pages / wanted;
  for (let i = 1; chosen.size < wanted; i++) chosen.add(Math.floor((i * stride + random() * stride) % pages));
  return [...chosen].sort((a, b) => a - b).map((page) => range.start + BigInt(page * PAGE_SIZE));
}

/** Compares sampled pages of `range`, read through /proc/vmcore, with guest RAM as `memory` shows it. */
export async function comparePages(
  capture: AgentChannel,
  memory: PhysicalMemory,
  vmcore: Vmcore,
  range: PhysicalRange,
  random: () => number,
  count: number = PAGES_PER_DIMM,
): Promise<PageEvidence> {
  const addresses = samplePages(range, count, random);
  const inDump = addresses.flatMap((address) => {
    const offset = fileOffset(vmcore.header, address);
    return offset === undefined ? [] : [{ address, page: offset / BigInt(PAGE_SIZE) }];
  });
  const hashes = await hashVmcorePages(
    capture,
    inDump.map(({ page }) => page),
  );
  let nonZero = 0;
  let equal = 0;
  let different = 0;
  for (const address of addresses) {
    const bytes = await memory.read(address, PAGE_SIZE);
    if (bytes.some((byte) => byte !== 0)) nonZero++;
    const index = inDump.findIndex((entry) => entry.address === address);
    const hash = index === -1 ? undefined : hashes[index];
    if (hash === undefined) continue;
    if (hash === createHash("sha256").update(bytes).digest("hex")) equal++;
    else different++;
  }
  const sampled = addresses.length;
  return { range, sampled, nonZero, equal, different, unreadable: sampled - equal - different };
}

/** What is wrong with the pages of one DIMM that were read, or could not be; one sentence each, empty where nothing is. */
export function pageDoubts({ range, sampled, unreadable, different }: PageEvidence): readonly string[] {
  const where = RangeSet.of([range]).toString();
  const doubts: string[] = [];
  if (unreadable > 0)
    doubts.push(`${unreadable} of ${sampled} pages of ${where} cannot be read from the dump`);
  if (different > 0)
    doubts.push(`${different} of ${sampled} pages of ${where} differ from the guest's memory`);
  return doubts;
}

/** Where /proc/vmcore has the page at physical `address`. Its loads' `p_offset` are offsets in the file. */
function fileOffset(header: CoreHeader, address: bigint): bigint | undefined {
  const load = header.programHeaders.find(
    (ph) =>
      ph.p_type === PT_LOAD &&
      !isKernelText(ph) &&
      ph.p_paddr <= address &&
      address < ph.p_paddr + ph.p_memsz,
  );
  return load && load.p_offset + (address - load.p_paddr);
}

/** SHA-256 of pages of /proc/vmcore by page number; undefined for a page that cannot be read whole. */
async function hashVmcorePages(
  capture: AgentChannel,
  pages: readonly bigint[],
): Promise<readonly (string | undefined)[]> {
  if (pages.length === 0) return [];
  const script = [
    "rm -rf /tmp/pages; mkdir /tmp/pages; cd /tmp/pages;",
    `for p in ${pages.join(" ")}; do dd if=/proc/vmcore of=$p bs=${PAGE_SIZE} skip=$p count=1 2>/dev/null; done;`,
    `find . -type f -size ${PAGE_SIZE}c -exec sha256sum {} +`,
  ].join(" ");
  const text = await capture.output(script, READ_TIMEOUT_MS);
  const byPage = new Map<string, string>();
  for (const [, hash, page] of text.matchAll(/^([0-9a-f]{64}) {2}\.\/(\d+)$/gm)) byPage.set(page!, hash!);
  return pages.map((page) => byPage.get(String(page)));
}
