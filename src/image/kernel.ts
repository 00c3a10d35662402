/**
 * What the running kernel's own data says of kdump, read from outside and without symbols: where crash memory
 * is (`crashk_res`, `crashk_low_res`) and which image is loaded (`kexec_crash_image`).
 *
 * An unloaded image leaves its bytes in crash memory (the kernel does not clear them), so a header that looks
 * right proves nothing about being armed. The pointer does.
 */
import type { CoreHeader } from "../elfcore/header.ts";
import { isKernelText, KERNEL_MAP_START, pageOffsetOf } from "../elfcore/kinds.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { BudgetError } from "./budget.ts";
import { findBytes, findU64s, PAGE_SIZE, u32, u64, words } from "./bytes.ts";
import { type Kimage, KIMAGE_SPAN, looksFreed, readKimage } from "./kimage.ts";
import { KernelBytes, type KernelSpan } from "./kernel-bytes.ts";
import type { PhysicalMemory } from "./memory.ts";
import { findPerCpuTable, type PerCpuTable, type PossibleCpus, readPossibleCpus } from "./per-cpu.ts";
import { numberOf, symbolOf, type VmcoreInfo } from "./vmcoreinfo.ts";

/** How much from `_stext` on is searched. `_end - _text` is 35 to 47 MiB on Debian's cloud kernels. */
const KERNEL_SPAN = 96 * 1024 * 1024;
/**
 * Of the pointers into the linear mapping that a kernel's span holds, one in a hundred or so leads to where an image may
 * be: more tries than this is a trap.
 */
const MAX_POINTERS_TRIED = 50_000;
/**
 * `struct kimage` has 600 to 1024 bytes, and kmalloc's cache for those has them at multiples of as much: since v5.4
 * (59bb47985c1d, "guarantee natural alignment for kmalloc(power-of-two)") also where allocations are debugged.
 */
const KIMAGE_ALIGNMENT = 1024n;
const ALIGNED_SINCE = [5, 4] as const;
const RESOURCE_NAME = new TextEncoder().encode("Crash kernel\0");
/** The name stands once in a kernel. */
const MAX_NAMES = 8;
/** IORESOURCE_SYSRAM | IORESOURCE_BUSY, include/linux/ioport.h. */
const RESOURCE_FLAGS = 0x81000000;

/** A running kernel, as its own memory describes it. */
export interface RunningKernel {
  readonly vmcoreinfo: VmcoreInfo;
  /** Physical address of `_stext`. */
  readonly textAddress: bigint;
  /** What `crashkernel=` reserved; empty where it reserved nothing. */
  readonly crashMemory: RangeSet;
  /** Physical address of `kexec_crash_image`, known once an image was seen loaded. */
  readonly imagePointerAddress?: bigint;
  /** Base of the kernel's linear mapping (`__va(0)`), known as soon as the pointer is. */
  readonly pageOffset?: bigint;
  /** Where the notes of all its possible CPUs are; undefined where that could not be proven. */
  readonly perCpu?: PerCpuTable | undefined;
}

/**
 * The kernel that `vmcoreinfo` speaks of, or undefined where memory does not bear it out (a note left over by a
 * kernel that ran before the last reset, say).
 *
 * @param header a core header that led to the note, where there is one: it tells how much the kernel spans, so that
 * half as much has to be read.
 * @param kernelBytes what the same look has read already, and reads here.
 */
export async function findRunningKernel(
  memory: PhysicalMemory,
  ram: RangeSet,
  vmcoreinfo: VmcoreInfo,
  header?: CoreHeader,
  kernelBytes: KernelBytes = new KernelBytes(),
): Promise<RunningKernel | undefined> {
  const stext = symbolOf(vmcoreinfo, "_stext");
  const physBase = numberOf(vmcoreinfo, "phys_base");
  if (stext === undefined || physBase === undefined || stext < KERNEL_MAP_START) return undefined;
  const textAddress = stext - KERNEL_MAP_START + physBase;
  const span = header ? kernelSpan(header, textAddress) : KERNEL_SPAN;
  const kernel = kernelBytes.span(memory, ram, textAddress, span);
  if (!kernel) return undefined;
  const found = await findCrashResources(memory, kernel, stext);
  if (found.length === 0) return undefined;
  const crash = found.filter(
    ({ start, end }) => end > start && (start | end) % BigInt(PAGE_SIZE) === 0n && ram.covers({ start, end }),
  );
  return { vmcoreinfo, textAddress, crashMemory: RangeSet.of(crash) };
}

/** What the kernel's resources named "Crash kernel" say, those that reserve nothing as empty ranges at 0. */
async function findCrashResources(
  memory: PhysicalMemory,
  kernel: KernelSpan,
  stext: bigint,
): Promise<readonly PhysicalRange[]> {
  const names = new Set<number>();
  const pointers = new Set<number>();
  for await (const { offset, bytes } of kernel.windows()) {
    for (const at of findBytes(bytes, RESOURCE_NAME, MAX_NAMES)) {
      if (names.size < MAX_NAMES) names.add(offset + at);
    }
    // The data, with the pointers, comes after the read-only data, with the names (arch/x86/kernel/vmlinux.lds.S).
    for (const name of names)
      for (const at of findU64s(bytes, stext + BigInt(name))) pointers.add(offset + at);
  }
  const found: PhysicalRange[] = [];
  for (const pointer of pointers) {
    // struct resource { start, end (inclusive), name, flags, … }
    if (pointer < 16 || pointer + 16 > kernel.length) continue;
    const bytes = await memory.read(kernel.address + BigInt(pointer - 16), 32);
    if ((u32(bytes, 24) & RESOURCE_FLAGS) >>> 0 !== RESOURCE_FLAGS) continue;
    const [start, last] = [u64(bytes, 0), u64(bytes, 8)];
    found.push(last === 0n ? { start: 0n, end: 0n } : { start, end: last + 1n });
  }
  return found;
}

/**
 * The capture image that a kernel whose `kexec_crash_image` is known has loaded now: two small reads.
 *
 * @returns "none" where the pointer is NULL; undefined where what it points to is no image, so that the kernel is
 * another one by now or was never what it seemed.
 */
export async function followImagePointer(
  memory: PhysicalMemory,
  ram: RangeSet,
  kernel: RunningKernel,
): Promise<Kimage | "none" | undefined> {
  const { imagePointerAddress: place, pageOffset, crashMemory } = kernel;
  if (place === undefined || pageOffset === undefined) return undefined;
  if (!ram.covers({ start: place, end: place + 8n })) return undefined;
  const pointer = u64(await memory.read(place, 8), 0);
  return pointer === 0n ? "none" : imageAt(memory, ram, pointer - pageOffset, crashMemory);
}

/**
 * Searches the kernel's data for the pointer to a capture image; undefined where none is loaded.
 *
 * @param header a core header that this kernel or its kexec-tools made: it gives the base of the linear mapping and
 * the kernel's end. (Behind the end are other pages, where a freed image may still be pointed to.)
 * @param kernelBytes as for {@link findRunningKernel}.
 * @returns the image, and the kernel with the pointer's place filled in, so that the next look is two reads.
 */
export async function findLoadedImage(
  memory: PhysicalMemory,
  ram: RangeSet,
  kernel: RunningKernel,
  header: CoreHeader,
  kernelBytes: KernelBytes,
): Promise<{ readonly kernel: RunningKernel; readonly image: Kimage } | undefined> {
  const pageOffset = pageOffsetOf(header);
  if (pageOffset === undefined) return undefined;
  const { textAddress } = kernel;
  const bytes = kernelBytes.span(memory, ram, textAddress, kernelSpan(header, textAddress));
  if (!bytes) return undefined;
  const top = ram.ranges.at(-1)?.end ?? 0n;
  let found: { readonly image: Kimage; readonly offset: number } | undefined;
  const isAligned = isAtLeast(kernel.vmcoreinfo.release, ALIGNED_SINCE);
  const { pointers, complete } = await linearPointers(bytes, pageOffset, top, isAligned);
  for (const [target, offset] of pointers) {
    const image = await imageAt(memory, ram, target, kernel.crashMemory);
    if (!image) continue;
    found ??= { image, offset };
    // Something else may still point to an image that was freed.
    if (await looksFreed(memory, image)) continue;
    found = { image, offset };
    break;
  }
  if (!found) {
    if (complete) return undefined;
    throw new BudgetError(
      `the kernel's data holds more than ${MAX_POINTERS_TRIED} pointers that may lead to a loaded image, and none of those that were tried does`,
    );
  }
  const imagePointerAddress = kernel.textAddress + BigInt(found.offset);
  const perCpu = await perCpuTable(memory, ram, { ...kernel, pageOffset }, header, bytes);
  return { kernel: { ...kernel, imagePointerAddress, pageOffset, perCpu }, image: found.image };
}

async function perCpuTable(
  memory: PhysicalMemory,
  ram: RangeSet,
  { vmcoreinfo, crashMemory, pageOffset }: RunningKernel & { readonly pageOffset: bigint },
  header: CoreHeader,
  bytes: KernelSpan,
): Promise<PerCpuTable | undefined> {
  const stext = symbolOf(vmcoreinfo, "_stext");
  if (stext === undefined) return undefined;
  return findPerCpuTable(memory, bytes, stext, { ram, crashMemory, pageOffset }, header);
}

/** The notes of all CPUs that `kernel` may ever have, checked against those that `header` has. */
export async function possibleCpusOf(
  memory: PhysicalMemory,
  ram: RangeSet,
  kernel: RunningKernel | undefined,
  header: CoreHeader,
): Promise<PossibleCpus> {
  if (kernel?.pageOffset === undefined)
    return { state: "unknown", reason: "no kernel was found that says where they are" };
  if (!kernel.perCpu)
    return {
      state: "unknown",
      reason: "the kernel's per-CPU table was not found, or does not give the notes in the header",
    };
  const space = { ram, crashMemory: kernel.crashMemory, pageOffset: kernel.pageOffset };
  return readPossibleCpus(memory, kernel.perCpu, space, header);
}

/** Pointers to where an image may be, by the physical address to which they point, each with the offset where it was seen first. */
interface LinearPointers {
  readonly pointers: readonly (readonly [bigint, number])[];
  /** False where there are more. */
  readonly complete: boolean;
}

/**
 * Aligned pointers into the linear mapping. Those that an allocated `struct kimage` may have come first: without a shared
 * file each try costs a millisecond.
 *
 * There may be many: what the kernel needed only to start is in its span and was given back (free_initmem()), and holds
 * whatever was allocated since. A guest with 4,096 memory blocks had 5,300 pointers there at its start and 22,000
 * a minute later, most of them before the one that counts.
 *
 * @param onlyAligned whether an image lies nowhere but at a multiple of {@link KIMAGE_ALIGNMENT}.
 */
async function linearPointers(
  kernel: KernelSpan,
  pageOffset: bigint,
  top: bigint,
  onlyAligned: boolean,
): Promise<LinearPointers> {
  const lowest = Number(pageOffset >> 32n);
  const highest = Number((pageOffset + top) >> 32n);
  const likely = new Map<bigint, number>();
  const others = new Map<bigint, number>();
  let complete = true;
  for await (const { offset, bytes } of kernel.windows()) {
    const list = words(bytes);
    for (let i = 0; i + 1 < list.length; i += 2) {
      const high = list[i + 1]!;
      if (high < lowest || high > highest) continue;
      const target = u64(bytes, i * 4) - pageOffset;
      if (target < 0n || target >= top || target % 8n !== 0n) continue;
      const isLikely = target % KIMAGE_ALIGNMENT === 0n;
      if (onlyAligned && !isLikely) continue;
      const seen = isLikely ? likely : others;
      if (seen.has(target)) continue;
      if (seen.size < MAX_POINTERS_TRIED) seen.set(target, offset + i * 4);
      else complete = false;
    }
  }
  return { pointers: [...likely, ...others], complete };
}

/** Whether a kernel's release, "6.1.0-57-cloud-amd64", is that version or a later one; false where it does not say. */
function isAtLeast(release: string, [major, minor]: readonly [number, number]): boolean {
  const [, its, minorOfIt] = /^(\d{1,3})\.(\d{1,4})/.exec(release) ?? [];
  return Number(its) > major || (Number(its) === major && Number(minorOfIt) >= minor);
}

/** Bytes from `_stext` to the end of the kernel, as far as a header's load of its text says. */
function kernelSpan(header: CoreHeader, textAddress: bigint): number {
  const text = header.programHeaders.find(isKernelText);
  if (!text || text.p_paddr > textAddress) return KERNEL_SPAN;
  const span = text.p_paddr + text.p_memsz - textAddress;
  return span > 0n && span < BigInt(KERNEL_SPAN) ? Number(span) : KERNEL_SPAN;
}

async function imageAt(
  memory: PhysicalMemory,
  ram: RangeSet,
  address: bigint,
  crashMemory: RangeSet,
): Promise<Kimage | undefined> {
  if (address < 0n) return undefined;
  return ram.covers({ start: address, end: address + BigInt(KIMAGE_SPAN) })
    ? readKimage(memory, address, crashMemory)
    : undefined;
}
