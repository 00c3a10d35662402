/** The core headers that a kernel and kexec-tools make of a system. */
import {
  buildCoreHeader,
  kernelBufferSize,
  kexecToolsBufferSize,
  type NoteLocation,
} from "../elfcore/build.ts";
import { encodeCoreHeader } from "../elfcore/encode.ts";
import type { CoreHeader } from "../elfcore/header.ts";
import { VMCOREINFO_NOTE_SIZE } from "../image/vmcoreinfo.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { crashMemory } from "./blueprint.ts";
import { CPU_NOTE_SIZE, crashNoteOf } from "./kernel-data.ts";
import { LOW_MEGABYTE, systemRam, type SystemState, without } from "./system.ts";

/** A core header in its loader's buffer: padded with zeros as far as that loader does. */
export interface HeaderBuffer {
  readonly header: CoreHeader;
  readonly bytes: Uint8Array;
}

/** What prepare_elf_headers of the running kernel makes (arch/x86/kernel/crash.c). */
export function kernelHeader(system: SystemState): HeaderBuffer {
  const { blueprint, kernel, cpus } = system;
  const ram = without(systemRam(system), LOW_MEGABYTE.union(crashMemory(blueprint)));
  const listed = kernel.cpuNotes === "possible" ? cpus.possible : cpus.present;
  const header = headerOf(system, listed, ram);
  return padded(header, kernelBufferSize({ cpus: cpus.possible, ranges: ram.length }));
}

/**
 * What kexec-tools makes for kexec_load: present CPUs only, and low memory as the backup copy at `backup`, which
 * purgatory makes of it.
 */
export function kexecToolsHeader(system: SystemState, backup: bigint): HeaderBuffer {
  const low = backupSource(system);
  const ram = without(systemRam(system), crashMemory(system.blueprint)).map((range) =>
    range.start === low.start ? { ...range, fileOffset: backup } : range,
  );
  const header = headerOf(system, system.cpus.present, ram);
  return padded(header, kexecToolsBufferSize(header.programHeaders.length));
}

/** The RAM that kexec-tools has purgatory copy: the first range, which ends below 640 KiB. */
export function backupSource(system: SystemState): PhysicalRange {
  return systemRam(system)[0]!;
}

function headerOf(
  { blueprint }: SystemState,
  cpus: number,
  ram: readonly (PhysicalRange & { readonly fileOffset?: bigint })[],
): CoreHeader {
  const cpuNotes: readonly NoteLocation[] = Array.from({ length: cpus }, (_, cpu) => ({
    paddr: crashNoteOf(blueprint, cpu),
    size: BigInt(CPU_NOTE_SIZE),
  }));
  return buildCoreHeader({
    cpuNotes,
    vmcoreinfo: { paddr: blueprint.vmcoreinfo, size: BigInt(VMCOREINFO_NOTE_SIZE) },
    kernelText: blueprint.kernel,
    ram,
    pageOffset: blueprint.pageOffset,
  });
}

function padded(header: CoreHeader, size: number): HeaderBuffer {
  const bytes = new Uint8Array(size);
  bytes.set(encodeCoreHeader(header));
  return { header, bytes };
}
