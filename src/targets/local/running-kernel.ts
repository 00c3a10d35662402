/** The running kernel by its own symbols: nothing has to be searched for in its memory. */
import { KERNEL_MAP_START } from "../../elfcore/kinds.ts";
import { u32, u64 } from "../../image/bytes.ts";
import { parsePfnMapped, PFN_RANGE_SIZE } from "../../image/identity-map.ts";
import type { RunningKernel } from "../../image/kernel.ts";
import type { PhysicalMemory } from "../../image/memory.ts";
import type { PerCpuTable } from "../../image/per-cpu.ts";
import { numberOf, symbolOf, type VmcoreInfo } from "../../image/vmcoreinfo.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import type { RangeSet } from "../../layout/range-set.ts";

/** Symbols that {@link runningKernel} uses; all but the first two only give the notes of possible CPUs. */
const KERNEL_SYMBOLS = ["_stext", "kexec_crash_image", "__per_cpu_offset", "crash_notes"] as const;
/** Symbols that {@link mappedMemory} uses. */
const MAP_SYMBOLS = ["pfn_mapped", "nr_pfn_mapped"] as const;
/** All that are looked for in the list of symbols, which is long: at once. */
export const SYMBOLS: readonly string[] = [...KERNEL_SYMBOLS, ...MAP_SYMBOLS];

/** What is known of a kernel from inside. */
export interface KernelSources {
  readonly vmcoreinfo: VmcoreInfo;
  /** {@link SYMBOLS} by name, virtual. */
  readonly symbols: ReadonlyMap<string, bigint>;
  /** `__va(0)`. */
  readonly pageOffset: bigint;
  readonly crashMemory: RangeSet;
  /** Numbers of all possible CPUs, ascending. */
  readonly possibleCpus: readonly number[];
}

/**
 * The running kernel with the place of its pointer to the loaded image; undefined where its symbols are hidden, or are
 * not those of the kernel whose memory this is. Everything that it leads to is checked by who follows it.
 */
export async function runningKernel(
  memory: PhysicalMemory,
  ram: RangeSet,
  { vmcoreinfo, symbols, pageOffset, crashMemory, possibleCpus }: KernelSources,
): Promise<RunningKernel | undefined> {
  const stext = symbolOf(vmcoreinfo, "_stext");
  const physBase = numberOf(vmcoreinfo, "phys_base");
  if (stext === undefined || physBase === undefined || symbols.get("_stext") !== stext) return undefined;
  const textAddress = stext - KERNEL_MAP_START + physBase;
  const placeOf = (name: string): bigint | undefined => placeIn(symbols, { textAddress, stext }, ram, name);
  const imagePointerAddress = placeOf("kexec_crash_image");
  if (imagePointerAddress === undefined) return undefined;
  const table = placeOf("__per_cpu_offset");
  const notes = placeOf("crash_notes");
  let perCpu: PerCpuTable | undefined;
  // The table is by CPU number: a gap would be an entry of no CPU.
  if (table !== undefined && notes !== undefined && isUnbroken(possibleCpus))
    perCpu = {
      address: table,
      count: possibleCpus.length,
      crashNotes: u64(await memory.read(notes, 8), 0),
    };
  return { vmcoreinfo, textAddress, crashMemory, imagePointerAddress, pageOffset, perCpu };
}

/** E820_MAX_ENTRIES with CONFIG_NODES_SHIFT=10 (arch/x86/include/asm/e820/types.h), the most that `pfn_mapped` can have. */
const MAX_MAPPED = 128 + 3 * 1024;

/**
 * All memory that the kernel has ever mapped (`pfn_mapped`), which never shrinks, whatever /proc/iomem says; undefined
 * where its symbols are hidden, or do not lead to such a list.
 */
export async function mappedMemory(
  memory: PhysicalMemory,
  ram: RangeSet,
  { vmcoreinfo, textAddress }: RunningKernel,
  symbols: ReadonlyMap<string, bigint>,
): Promise<readonly PhysicalRange[] | undefined> {
  const stext = symbolOf(vmcoreinfo, "_stext");
  if (stext === undefined || symbols.get("_stext") !== stext) return undefined;
  const text = { textAddress, stext };
  const countAt = placeIn(symbols, text, ram, "nr_pfn_mapped");
  const listAt = placeIn(symbols, text, ram, "pfn_mapped");
  if (countAt === undefined || listAt === undefined) return undefined;
  const count = u32(await memory.read(countAt, 4), 0);
  if (count < 1 || count > MAX_MAPPED) return undefined;
  const mapped = parsePfnMapped(await memory.read(listAt, count * PFN_RANGE_SIZE));
  return mapped.every(({ start, end }) => start < end) ? mapped : undefined;
}

/** Where `_stext` lies: physical and virtual. */
interface TextPlace {
  readonly textAddress: bigint;
  readonly stext: bigint;
}

/** Physical address of a variable of the kernel's image; undefined where it has no such symbol. */
function placeIn(
  symbols: ReadonlyMap<string, bigint>,
  { textAddress, stext }: TextPlace,
  ram: RangeSet,
  name: string,
): bigint | undefined {
  const address = symbols.get(name);
  const place = address === undefined ? -1n : textAddress + (address - stext);
  return place >= 0n && ram.covers({ start: place, end: place + 8n }) ? place : undefined;
}

function isUnbroken(cpus: readonly number[]): boolean {
  return cpus.length > 0 && cpus.every((cpu, i) => cpu === i);
}
