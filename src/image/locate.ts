/** Finds the capture image of a machine whose memory can be read, and says how sure that is. */
import { type CoreHeader, coreHeaderSize } from "../elfcore/header.ts";
import { pageOffsetOf } from "../elfcore/kinds.ts";
import { describedMemory } from "../layout/described.ts";
import { RangeSet } from "../layout/range-set.ts";
import { BudgetedMemory, BudgetError, type ReadLimits } from "./budget.ts";
import { PAGE_SIZE } from "./bytes.ts";
import { hex } from "../elfcore/hex.ts";
import type { CaptureCommandLine } from "./command-line.ts";
import { type DisprovenHeader, isProven, proveCoreHeader, type ProvenHeader } from "./core-header.ts";
import { type DigestFinding, findDigestOfImage } from "./digest.ts";
import { ImageError } from "./error.ts";
import type { Sha256 } from "./hash.ts";
import {
  findLoadedImage,
  findRunningKernel,
  followImagePointer,
  possibleCpusOf,
  type RunningKernel,
} from "./kernel.ts";
import { KernelBytes } from "./kernel-bytes.ts";
import { type ImageSegment, type Kimage, segmentHolding } from "./kimage.ts";
import type { PhysicalMemory } from "./memory.ts";
import { disproveMoved, findNamedHeader, type NamedHeader } from "./named-header.ts";
import { MAX_HEADER_SEGMENT } from "./purgatory.ts";
import type { PossibleCpus } from "./per-cpu.ts";
import { ROOM_BYTES } from "./room.ts";
import { looksLikeCoreHeader, scanPages } from "./scan.ts";
import { readVmcoreInfo, type VmcoreInfo } from "./vmcoreinfo.ts";

const FOUR_GIB = 1n << 32n;
/** Core headers that are put to the proof in one step; copies and leftovers are few. */
const MAX_PROOFS = 64;
/** VMCOREINFO notes whose kernel is looked for, which takes a look at up to 96 MiB each. */
const MAX_KERNELS = 16;

/** Reads that are no search. A look at a real guest makes some hundred; without a shared file each takes 0.3 to 1 ms. */
const MAX_SMALL_READS = 20_000;
/** Bytes of such reads: kernels, the digest's segments, headers. */
const MAX_OTHER_BYTES = 8 * 1024 ** 3;

/** A capture image in crash memory. */
export interface CaptureImage {
  readonly headerAddress: bigint;
  /** Bytes of the segment that the header has to itself: as far as a new one may reach. */
  readonly headerCapacity: number;
  readonly header: CoreHeader;
  readonly vmcoreinfo: VmcoreInfo;
  readonly crashMemory: RangeSet;
  /** `yes` by the kernel's own pointer; `unconfirmed` where that pointer could not be found. */
  readonly loaded: "yes" | "unconfirmed";
  readonly kernel: RunningKernel | undefined;
  readonly kimage: Kimage | undefined;
  readonly digest: DigestFinding;
  readonly commandLine: CaptureCommandLine | undefined;
  /** A CPU note that holds registers: a panic is under way, or the capture kernel runs already. */
  readonly usedCpuNote: bigint | undefined;
  /** The notes of all CPUs that the kernel may ever have. */
  readonly possibleCpus: PossibleCpus;
}

/** What a look at a machine's memory found. */
export type Location =
  | { readonly found: "image"; readonly image: CaptureImage }
  | {
      readonly found: "nothing-loaded";
      readonly kernel: RunningKernel;
      readonly leftover: bigint | undefined;
    }
  | { readonly found: "no-crash-memory"; readonly kernel: RunningKernel }
  | { readonly found: "unknown"; readonly reason: string };

/** An image whose digest was found to match. */
export type HashedImage = Pick<CaptureImage, "headerAddress" | "digest">;

/** What the caller knows already; everything is checked, nothing is taken on trust. */
export interface LocateHints {
  /** RAM, as the machine told of it before: spares asking again. The image lies in boot RAM, which stays as it is. */
  readonly ram?: RangeSet | undefined;
  readonly headerAddress?: bigint | undefined;
  readonly crashMemory?: RangeSet | undefined;
  /** From an earlier look: spares the search through all of RAM. */
  readonly kernel?: RunningKernel | undefined;
  /**
   * From an earlier look: spares the hash of its segments where it has the same header address, region table and
   * digest. That purgatory would pass is then as true as it was; that the image is the same one is checked.
   */
  readonly hashed?: HashedImage | undefined;
}

/** What every step needs; RAM is asked for once, which costs a round trip to a real machine. */
interface Look {
  readonly memory: PhysicalMemory;
  readonly sha256: Sha256;
  readonly ram: RangeSet;
  /** Headers that were put to the proof already, by address. */
  readonly verdicts: Map<bigint, ProvenHeader | DisprovenHeader>;
  readonly kernelBytes: KernelBytes;
  readonly hashed: HashedImage | undefined;
}

/**
 * Finds the loaded capture image.
 *
 * RAM below 4 GiB is searched first: crash memory is there unless `crashkernel=X,high` was given. With a kernel from
 * an earlier look nothing is searched: its pointer leads to the image.
 *
 * @throws {ImageError} `not-a-core-header` where a given address holds none.
 *
 * @param sha256 the digest's hash; `nodeSha256` under Node.
 * @returns the image, or why there is none; `unknown` where it cannot be told.
 * @example
 * ```ts
 * import { locateImage, nodeSha256, parseSpec, SimulatedTarget } from "kdump-hotplug";
 *
 * const { memory } = SimulatedTarget.open("sim:6.1", parseSpec("6.1"), nodeSha256);
 * const location = await locateImage(memory, nodeSha256);
 * console.log(location.found); // image
 * console.log(location.found === "image" && location.image.digest.state); // covers-header
 * ```
 */
export async function locateImage(
  memory: PhysicalMemory,
  sha256: Sha256,
  hints: LocateHints = {},
): Promise<Location> {
  const ram = hints.ram ?? RangeSet.of(await memory.ranges());
  const budgeted = new BudgetedMemory(memory, limitsFor(ram));
  try {
    const kernelBytes = new KernelBytes();
    const look = { memory: budgeted, sha256, ram, verdicts: new Map(), kernelBytes, hashed: hints.hashed };
    return await locate(look, hints);
  } catch (error) {
    if (error instanceof BudgetError) return unknown(error.message);
    throw error;
  }
}

/** Enough for all of RAM twice over (a search, and crash memory once more) and for every step at its own limit. */
function limitsFor(ram: RangeSet): ReadLimits {
  const bytes = Number(ram.bytes);
  return {
    reads: 2 * Math.ceil(bytes / ROOM_BYTES) + MAX_SMALL_READS,
    bytes: 2 * bytes + MAX_OTHER_BYTES,
  };
}

async function locate(look: Look, hints: LocateHints): Promise<Location> {
  const { memory } = look;
  const { kernel, headerAddress } = hints;
  if (headerAddress !== undefined) return locateGiven(look, headerAddress, hints);
  if (kernel) {
    const image = await followImagePointer(memory, look.ram, kernel);
    if (image === "none") return { found: "nothing-loaded", kernel, leftover: undefined };
    const location = image && (await locateLoaded(look, kernel, image));
    if (location && !isOutdated(location)) return location;
  }
  const low = RangeSet.of([{ start: 0n, end: FOUR_GIB }]);
  const known = (hints.crashMemory ?? kernel?.crashMemory)?.intersect(look.ram);
  const first = known ? edgesOf(known) : look.ram.intersect(low);
  const areas = [first, (known ?? look.ram).subtract(first)];
  for (const area of areas) {
    const scan = await scanPages(memory, area.ranges);
    const running = kernel ?? (await runningKernel(look, scan.coreHeaders, scan.vmcoreinfoNotes));
    // Where more pages look like headers than are listed, crash memory is searched once more by itself.
    const searched = scan.complete ? area : RangeSet.empty;
    if (running) return locateByKernel(look, running, searched, scan.coreHeaders);
    // In crash memory all of it counts: a second header would be a doubt.
    if (!known && [...look.verdicts.values()].some(isProven)) break;
  }
  return locateWithoutKernel(look, RangeSet.of(areas.flatMap(({ ranges }) => ranges)), hints.crashMemory);
}

/**
 * The first and the last 4 MiB of every range. Headers lie there: the kernel fills crash memory from below
 * (locate_mem_hole_bottom_up(), kernel/kexec_file.c), kexec-tools from above (locate_hole(), kexec/kexec.c).
 */
function edgesOf(crashMemory: RangeSet): RangeSet {
  const edge = 4n * 1024n * 1024n;
  return crashMemory.intersect(
    RangeSet.of(
      crashMemory.ranges.flatMap(({ start, end }) => [
        { start, end: start + edge },
        { start: end - edge, end },
      ]),
    ),
  );
}

/** The image whose header the caller names. */
async function locateGiven(look: Look, address: bigint, hints: LocateHints): Promise<Location> {
  const given = await prove(look, address);
  if (!isProven(given)) {
    throw new ImageError(
      "not-a-core-header",
      `Cannot use the header at ${hex(address)}: ${given.reason}; leave the address out to have it found`,
    );
  }
  const kernel =
    hints.kernel ??
    (await findRunningKernel(look.memory, look.ram, given.vmcoreinfo, given.header, look.kernelBytes));
  if (!kernel) return locateAlone(look, given, hints.crashMemory);
  if (kernel.crashMemory.isEmpty) return { found: "no-crash-memory", kernel };
  if (pageOffsetOf(given.header) === undefined) return unknown(noPageOffset(given));
  const loaded = await findLoadedImage(look.memory, look.ram, kernel, given.header, look.kernelBytes);
  if (!loaded) return { found: "nothing-loaded", kernel, leftover: address };
  const location = await locateLoaded(look, loaded.kernel, loaded.image);
  if (location.found !== "image" || location.image.headerAddress === address) return location;
  const other = hex(location.image.headerAddress);
  return unknown(`the header at ${hex(address)} is not the loaded image's, which lies at ${other}`);
}

async function locateWithoutKernel(
  look: Look,
  searched: RangeSet,
  crashMemory: RangeSet | undefined,
): Promise<Location> {
  const verdicts = [...look.verdicts.values()];
  const proven = verdicts.filter(isProven);
  if (proven.length === 1) return locateAlone(look, proven[0]!, crashMemory);
  if (proven.length > 1) {
    const where = proven.map((p) => hex(p.address)).slice(0, 4);
    return unknown(
      `${proven.length} core headers were found (${where.join(", ")}) and no kernel that says which one is loaded`,
    );
  }
  const about = verdicts.flatMap((v) => (isProven(v) ? [] : [`${hex(v.address)} (${v.reason})`])).slice(0, 3);
  return unknown(
    `no core header and no Linux kernel with VMCOREINFO was found in ${searched.toString()}${about.length > 0 ? `; looked at ${about.join(", ")}` : ""}`,
  );
}

/**
 * The kernel that bears out a VMCOREINFO note: one of those to which headers lead, else one of those that were found.
 * (A note may be left over from a kernel that ran before the last reset.)
 */
async function runningKernel(
  look: Look,
  headers: readonly bigint[],
  notes: readonly bigint[],
): Promise<RunningKernel | undefined> {
  const tried = new Set<bigint>();
  const kernelOf = async (
    vmcoreinfo: VmcoreInfo | undefined,
    header?: CoreHeader,
  ): Promise<RunningKernel | undefined> => {
    if (!vmcoreinfo || tried.has(vmcoreinfo.address) || tried.size === MAX_KERNELS) return undefined;
    tried.add(vmcoreinfo.address);
    return findRunningKernel(look.memory, look.ram, vmcoreinfo, header, look.kernelBytes);
  };
  for (const address of headers.slice(0, MAX_PROOFS)) {
    const verdict = await prove(look, address);
    const kernel = isProven(verdict) ? await kernelOf(verdict.vmcoreinfo, verdict.header) : undefined;
    if (kernel) return kernel;
  }
  for (const address of notes.slice(0, MAX_PROOFS)) {
    if (!look.ram.covers({ start: address, end: address + 2n * BigInt(PAGE_SIZE) })) continue;
    const kernel = await kernelOf(await readVmcoreInfo(look.memory, address));
    if (kernel) return kernel;
  }
  return undefined;
}

/**
 * The image that `kernel` has loaded, found with the help of any header of its time in crash memory: that gives the
 * base of the linear mapping, which the kernel's pointer needs.
 *
 * @param headers pages in `searched` that look like core headers; the rest of crash memory is searched here.
 */
async function locateByKernel(
  look: Look,
  kernel: RunningKernel,
  searched: RangeSet,
  headers: readonly bigint[],
): Promise<Location> {
  if (kernel.crashMemory.isEmpty) return { found: "no-crash-memory", kernel };
  const inCrashMemory = (address: bigint): boolean => kernel.crashMemory.contains(address);
  const search: PointerSearch = { pageOffsets: new Set(), leftover: undefined, doubt: undefined };
  const known = headers.filter(inCrashMemory);
  const loaded = await findByHeaders(look, kernel, known.slice(0, MAX_PROOFS), search);
  if (loaded) return locateLoaded(look, loaded.kernel, loaded.image);
  const rest = kernel.crashMemory.intersect(look.ram).subtract(searched);
  const scanned = rest.isEmpty ? [] : (await scanPages(look.memory, rest.ranges)).coreHeaders;
  const others = scanned.filter((address) => !known.includes(address));
  const late = await findByHeaders(
    look,
    kernel,
    others.slice(0, Math.max(0, MAX_PROOFS - known.length)),
    search,
  );
  if (late) return locateLoaded(look, late.kernel, late.image);
  const { leftover, doubt } = search;
  const candidates = known.length + others.length;
  if (candidates > MAX_PROOFS) {
    return unknown(`${candidates} pages of crash memory look like core headers, there should be one`);
  }
  // One header that holds is enough to have looked the kernel's pointer up.
  if (doubt !== undefined && leftover === undefined) return unknown(doubt);
  return { found: "nothing-loaded", kernel, leftover };
}

/** What headers that led to no loaded image have told. */
interface PointerSearch {
  /** Bases of the linear mapping with which the kernel's pointer was looked for. */
  readonly pageOffsets: Set<bigint>;
  /** The first header that holds, though nothing is loaded. */
  leftover: bigint | undefined;
  /** Why the first that does not hold, does not. */
  doubt: string | undefined;
}

/** The loaded image, found with the help of the first of `addresses` whose header leads to it. */
async function findByHeaders(
  look: Look,
  kernel: RunningKernel,
  addresses: readonly bigint[],
  search: PointerSearch,
): Promise<Awaited<ReturnType<typeof findLoadedImage>>> {
  for (const address of addresses) {
    const candidate = await prove(look, address);
    const pageOffset = isProven(candidate) ? pageOffsetOf(candidate.header) : undefined;
    if (!isProven(candidate)) {
      search.doubt ??= `what lies at ${hex(address)} in crash memory looks like a core header, but ${candidate.reason}`;
    } else if (pageOffset === undefined) {
      search.doubt ??= noPageOffset(candidate);
    } else {
      search.leftover ??= address;
      if (search.pageOffsets.has(pageOffset)) continue;
      search.pageOffsets.add(pageOffset);
      const loaded = await findLoadedImage(look.memory, look.ram, kernel, candidate.header, look.kernelBytes);
      if (loaded) return loaded;
    }
  }
  return undefined;
}

/** The image to which the kernel's own pointer leads. */
async function locateLoaded(look: Look, kernel: RunningKernel, kimage: Kimage): Promise<Location> {
  const named = await findNamedHeader(look.memory, kernel.crashMemory, kimage);
  if (named?.moved) return locateMoved(look, kernel, kimage, named);
  let reason = "none of its segments begins like one";
  // The kernel takes the last segment that begins like an ELF file (crash_handle_hotplug_event).
  // The one that the image names comes first: a re-arm may leave another behind it.
  const isNamed = ({ address }: ImageSegment): boolean => address === named?.address;
  const candidates = kimage.segments.toReversed();
  for (const { address, size } of [
    ...candidates.filter(isNamed),
    ...candidates.filter((segment) => !isNamed(segment)),
  ]) {
    if (!looksLikeCoreHeader(await look.memory.read(address, PAGE_SIZE), 0)) continue;
    const verdict = await prove(look, address);
    if (!isProven(verdict)) {
      reason = `at ${hex(address)} ${verdict.reason}`;
    } else if (size > MAX_HEADER_SEGMENT || headerBytes(verdict.header) > size) {
      reason = `the one at ${hex(address)} has ${headerBytes(verdict.header)} bytes, its segment ${size}`;
    } else {
      const line = named?.address === address ? named.boot.commandLine : undefined;
      const image = await describeImage(look, verdict, kernel.crashMemory, kernel, kimage, line);
      return { found: "image", image };
    }
  }
  return unknown(`a capture kernel is loaded, but no core header was found in it: ${reason}`);
}

/** The loaded image whose header has left its segment: proven like any other, where the capture kernel will look. */
async function locateMoved(
  look: Look,
  kernel: RunningKernel,
  kimage: Kimage,
  named: NamedHeader,
): Promise<Location> {
  const verdict = await prove(look, named.address);
  const reason = isProven(verdict)
    ? disproveMoved(named, kimage, headerBytes(verdict.header))
    : verdict.reason;
  if (!isProven(verdict) || reason !== undefined)
    return unknown(
      `a capture kernel is loaded, and its command line names a core header at ${hex(named.address)}, but ${reason}`,
    );
  const { commandLine } = named.boot;
  const image = await describeImage(look, verdict, kernel.crashMemory, kernel, kimage, commandLine);
  return { found: "image", image };
}

/** Whether what was known of the kernel's CPUs does not hold any more: it was reset, and is searched for anew. */
function isOutdated(location: Location): boolean {
  if (location.found !== "image") return false;
  const { kernel, possibleCpus } = location.image;
  return kernel?.perCpu !== undefined && possibleCpus.state === "unknown";
}

/** An image of which no kernel says whether it is loaded. */
async function locateAlone(
  look: Look,
  proven: ProvenHeader,
  crashMemory: RangeSet | undefined,
): Promise<Location> {
  const around = crashMemory ?? holeAround(proven, look.ram);
  return { found: "image", image: await describeImage(look, proven, around, undefined, undefined) };
}

async function describeImage(
  look: Look,
  { address, header, vmcoreinfo, usedCpuNote }: ProvenHeader,
  crashMemory: RangeSet,
  kernel: RunningKernel | undefined,
  kimage: Kimage | undefined,
  namedBy?: CaptureCommandLine,
): Promise<CaptureImage> {
  const { digest, commandLine } = await findDigestOfImage(
    look.memory,
    look.sha256,
    address,
    crashMemory,
    kimage,
    {
      known: look.hashed?.headerAddress === address ? look.hashed.digest : undefined,
      commandLine: namedBy,
    },
  );
  const covering = "table" in digest ? digest.table.regions.find((r) => r.address === address) : undefined;
  const headerCapacity =
    (kimage && segmentHolding(kimage.segments, address)?.size) ??
    covering?.size ??
    Math.ceil(headerBytes(header) / PAGE_SIZE) * PAGE_SIZE;
  return {
    headerAddress: address,
    headerCapacity,
    header,
    vmcoreinfo,
    crashMemory,
    loaded: kimage ? "yes" : "unconfirmed",
    kernel,
    kimage,
    digest,
    commandLine,
    usedCpuNote,
    possibleCpus: await possibleCpusOf(look.memory, look.ram, kernel, header),
  };
}

async function prove(look: Look, address: bigint): Promise<ProvenHeader | DisprovenHeader> {
  const known = look.verdicts.get(address);
  if (known) return known;
  const verdict = await proveCoreHeader(look.memory, look.ram, address);
  look.verdicts.set(address, verdict);
  return verdict;
}

/** RAM around the header that it does not describe: crash memory, where no kernel says where that is. */
function holeAround(proven: ProvenHeader, ram: RangeSet): RangeSet {
  const holes = ram.subtract(describedMemory(proven.header));
  return RangeSet.of(holes.ranges.filter((r) => r.start <= proven.address && proven.address < r.end));
}

function headerBytes(header: CoreHeader): number {
  return coreHeaderSize(header.programHeaders.length);
}

function noPageOffset({ address }: ProvenHeader): string {
  return `the PT_LOADs of the header at ${hex(address)} do not agree on the base of the linear map (p_vaddr - p_paddr), so the kernel's pointer to the image could not be followed`;
}

function unknown(reason: string): Location {
  return { found: "unknown", reason };
}
