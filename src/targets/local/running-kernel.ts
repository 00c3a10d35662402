/** The running kernel by its own symbols: nothing has to be searched for in its memory. */
import { KERNEL_MAP_START } from "../../elfcore/kinds.ts";
import { u64 } from "../../image/bytes.ts";
import type { RunningKernel } from "../../image/kernel.ts";
import type { PhysicalMemory } from "../../image/memory.ts";
import type { PerCpuTable } from "../../image/per-cpu.ts";
import { numberOf, symbolOf, type VmcoreInfo } from "../../image/vmcoreinfo.ts";
import type { RangeSet } from "../../layout/range-set.ts";

/** Symbols that {@link runningKernel} uses; all but the first two only give the notes of possible CPUs. */
export const KERNEL_SYMBOLS = ["_stext", "kexec_crash_image", "__per_cpu_offset", "crash_notes"] as const;

/** What is known of a kernel from inside. */
export interface KernelSources {
  readonly vmcoreinfo: VmcoreInfo;
  /** {@link KERNEL_SYMBOLS} by name, virtual. */
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
  const placeOf = (name: string): bigint | undefined => {
    const address = symbols.get(name);
    const place = address === undefined ? -1n : textAddress + (address - stext);
    return place >= 0n && ram.covers({ start: place, end: place + 8n }) ? place : undefined;
  };
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

function isUnbroken(cpus: readonly number[]): boolean {
  return cpus.length > 0 && cpus.every((cpu, i) => cpu === i);
}
