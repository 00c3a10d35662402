/** A panic: crash notes, purgatory's check, the capture kernel's look at the header, and the dump. */
import { elfcorehdrOf, hasParameter } from "../image/command-line.ts";
import type { Sha256 } from "../image/hash.ts";
import { RangeSet } from "../layout/range-set.ts";
import { readBootParams } from "./boot-params.ts";
import { isControlChain } from "./control-pages.ts";
import { cpuNote, crashNoteOf, readLoadedKimage } from "./kernel-data.ts";
import type { SparseMemory } from "./memory.ts";
import { passesCheck, readPurgatory } from "./purgatory.ts";
import { dumpableMemory, type SystemState } from "./system.ts";
import { coreHeaderBytes, parseCoreHeader, type Vmcore } from "./vmcore.ts";

/** What a panic gives. */
export type PanicResult =
  /** `kexec_crash_image` is NULL, or the kexec lock is taken: the machine stands still or reboots. */
  | { readonly kind: "no image" }
  /** Purgatory does not let the image start, or there is none to enter. */
  | { readonly kind: "hang"; readonly reason: string }
  /** The capture kernel runs, and /proc/vmcore is not there. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "vmcore"; readonly vmcore: Vmcore };

/**
 * Lets the machine panic.
 *
 * @param memory - the machine's memory, which is changed as a panic changes it: give it a fork to ask "what if".
 */
export function panicMachine(memory: SparseMemory, sha256: Sha256, system: SystemState): PanicResult {
  const { blueprint, cpus, dimms } = system;
  const image = readLoadedKimage(memory, blueprint);
  // __crash_kexec: without an image nothing of this happens.
  if (!image) return { kind: "no image" };
  for (let cpu = 0; cpu < cpus.present; cpu++) memory.poke(crashNoteOf(blueprint, cpu), cpuNote(cpu));
  if (!isControlChain(memory, image.controlPages.start))
    return { kind: "hang", reason: "the pages through which the kernel is left were overwritten" };
  const program = readPurgatory(memory, image.entry);
  if (!program) return { kind: "hang", reason: `there is no purgatory at 0x${image.entry.toString(16)}` };
  if (!passesCheck(memory, sha256, program))
    return { kind: "hang", reason: "the digest does not match: purgatory spins" };
  if (program.backup) {
    const { from, to } = program.backup;
    memory.poke(to, memory.peek(from.start, Number(from.end - from.start)));
  }
  const boot = readBootParams(memory, program.bootParams);
  if (!boot) return { kind: "hang", reason: "the capture kernel finds no boot parameters" };
  const address = elfcorehdrOf(boot.commandLine);
  if (address === undefined)
    return {
      kind: "refused",
      reason: "the command line names no elfcorehdr=: the capture kernel makes no /proc/vmcore",
    };
  const header = { start: address, end: address + BigInt(coreHeaderBytes(memory, address)) };
  if (boot.ram.overlaps(header))
    return {
      kind: "refused",
      reason: "the capture kernel has overwritten the core header: it is in its own memory",
    };
  const taken = hasParameter(boot.commandLine, "acpi_no_memhotplug")
    ? RangeSet.empty
    : RangeSet.of(dimms.map(({ range }) => range));
  const parsed = parseCoreHeader(memory, address, taken);
  return "refused" in parsed
    ? { kind: "refused", reason: parsed.refused }
    : { kind: "vmcore", vmcore: parsed.vmcore };
}

/** What a dump is worth: nothing, all, or what is wrong with it. */
export interface DumpVerdict {
  readonly outcome: "no dump" | "incomplete" | "complete";
  /** Memory that the kernel used and the dump has not, or has and cannot read. */
  readonly missing: RangeSet;
  /** Memory that the dump claims and the machine does not have. */
  readonly stale: RangeSet;
  /** CPUs that were there and whose registers the dump has not. */
  readonly missingCpus: number;
}

/** Judges a panic's result against the machine of the same moment. A dump is complete when its pages can be read. */
export function judgeDump(result: PanicResult, system: SystemState): DumpVerdict {
  const wanted = dumpableMemory(system);
  const { present } = system.cpus;
  if (result.kind !== "vmcore")
    return { outcome: "no dump", missing: wanted, stale: RangeSet.empty, missingCpus: present };
  const { described, unreadable, cpus } = result.vmcore;
  const backed = system.blueprint.backedRam.union(RangeSet.of(system.dimms.map(({ range }) => range)));
  const missing = wanted.subtract(described.subtract(unreadable));
  const missingCpus = Math.max(0, present - cpus);
  const outcome = missing.isEmpty && missingCpus === 0 ? "complete" : "incomplete";
  return { outcome, missing, stale: described.subtract(backed), missingCpus };
}
