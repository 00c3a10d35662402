/**
 * Capture images as both loaders leave them in crash memory; order of segments, addresses, places of table and digest
 * are those that were seen on 5.10, 6.1 (kexec_file_load and kexec_load) and 6.12. Kernel and initrd are a few pages.
 */
import { createHash } from "node:crypto";
import { buildCoreHeader } from "../../src/elfcore/build.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import {
  BOOT_RAM,
  CRASH,
  type FakeKernel,
  KERNEL,
  KERNEL_SIZE,
  le64,
  LOW_RAM,
  noise,
  PAGE_OFFSET,
  PLACES,
  STEXT,
  text,
} from "./fake-machine.ts";

/** kexec_file_load up to 6.5, kexec_file_load from 6.6 on, kexec-tools' kexec_load. */
export type Form = "file" | "file-6.6" | "load";
export const FORMS: readonly Form[] = ["file", "file-6.6", "load"];

type Role = "header" | "purgatory" | "boot-params" | "kernel" | "initrd" | "setup-data" | "backup";
type Placed = readonly [role: Role, start: bigint, size: number];

interface Recipe {
  readonly segments: readonly Placed[];
  /** Roles in the order in which the region table lists them. */
  readonly table: readonly Role[];
  readonly tableOffset: number;
  readonly digestOffset: number;
}

function recipe(form: Form, base: bigint): Recipe {
  const at = (offset: number): bigint => base + BigInt(offset);
  if (form === "load") {
    return {
      segments: [
        ["setup-data", at(0), 0x1000],
        ["kernel", at(0x30_0000), 0x6000],
        ["initrd", at(0x31_0000), 0x4000],
        ["boot-params", at(0x35_0000), 0x4000],
        ["purgatory", at(0x35_4000), 0x9000],
        ["header", at(0x35_d000), 0x4000],
        ["backup", at(0x36_1000), 0x9_f000],
      ],
      table: ["setup-data", "kernel", "initrd", "boot-params", "header", "backup"],
      tableOffset: 0x5040,
      digestOffset: 0x5020,
    };
  }
  return {
    segments: [
      ["header", at(0), form === "file" ? 0x1000 : 0x7_2000],
      ["purgatory", at(0x3f_9000), 0x6000],
      ["boot-params", at(0x3f_7000), 0x2000],
      ["kernel", at(0x3c_2000), 0x6000],
      ["initrd", at(0x3b_0000), 0x4000],
    ],
    table:
      form === "file" ? ["header", "boot-params", "kernel", "initrd"] : ["boot-params", "kernel", "initrd"],
    tableOffset: 0x4000,
    digestOffset: 0x4100,
  };
}

export interface LoadOptions {
  /** Added to the command line. */
  readonly parameters?: string;
  /** Another kernel and initrd. */
  readonly seed?: number;
  /** 4 MiB of crash memory in which everything goes. */
  readonly base?: bigint;
  /** Hot-added memory that the loader saw already. */
  readonly extraRam?: readonly PhysicalRange[];
  /** Each range of it is a load of its own, as /proc/iomem lists DIMMs; else what touches is one. */
  readonly apart?: boolean;
  readonly kimage?: bigint;
}

/** What the test knows of an image; nothing of it is told to the code under test. */
export interface LoadedImage {
  readonly form: Form;
  readonly header: CoreHeader;
  readonly headerAddress: bigint;
  readonly headerCapacity: number;
  readonly tableAddress: bigint;
  readonly digestAddress: bigint;
  readonly commandLineAddress: bigint;
  readonly segments: ReadonlyMap<Role, PhysicalRange>;
}

/** Loads an image into `kernel`, over what was there, as the system call does. */
export function load(kernel: FakeKernel, form: Form, options: LoadOptions = {}): LoadedImage {
  const { memory } = kernel;
  const seed = options.seed ?? 7;
  const base = options.base ?? CRASH.start;
  const { segments: placed, table, tableOffset, digestOffset } = recipe(form, base);
  const segments = new Map(placed.map(([role, start, size]) => [role, { start, end: start + BigInt(size) }]));
  const span = (role: Role): PhysicalRange => segments.get(role)!;
  const header = loaderHeader(kernel, form, segments.get("backup")?.start, options);
  const purgatory = span("purgatory").start;
  const tableAddress = purgatory + BigInt(tableOffset);
  const digestAddress = purgatory + BigInt(digestOffset);
  const commandLineAddress = span("boot-params").start + 0x1000n;
  kernel.setPointer(0n);
  for (const [role, start, size] of placed) {
    memory.poke(start, role === "backup" ? new Uint8Array(size) : content(role, size, seed));
  }
  memory.poke(span("header").start, encodeCoreHeader(header));
  const parameters = options.parameters ?? "acpi_no_memhotplug console=ttyS0";
  const address = span("header").start;
  const line =
    form === "load"
      ? `${parameters} elfcorehdr=${address / 1024n}K`
      : `elfcorehdr=0x${address.toString(16)} ${parameters}`;
  memory.poke(span("boot-params").start, bootParams(commandLineAddress, captureRam(kernel, segments)));
  memory.poke(commandLineAddress, text(`${line}\0`));
  const hash = createHash("sha256");
  const regions = new Uint8Array(256);
  table.forEach((role, i) => {
    const { start, end } = span(role);
    regions.set(le64(start), i * 16);
    regions.set(le64(end - start), i * 16 + 8);
    hash.update(memory.peek(start, Number(end - start)));
  });
  memory.poke(tableAddress, regions);
  memory.poke(digestAddress, hash.digest());
  kernel.setImage(purgatory + 0x40n, [...segments.values()], options.kimage);
  return {
    form,
    header,
    headerAddress: address,
    headerCapacity: Number(span("header").end - address),
    tableAddress,
    digestAddress,
    commandLineAddress,
    segments,
  };
}

/** What the capture kernel may use: low memory, and crash memory but for what must survive its start. */
function captureRam(
  kernel: FakeKernel,
  segments: ReadonlyMap<Role, PhysicalRange>,
): readonly PhysicalRange[] {
  const kept = (["header", "backup"] as const).flatMap((role) => segments.get(role) ?? []);
  return RangeSet.of([LOW_RAM]).union(kernel.crashMemory.subtract(RangeSet.of(kept))).ranges;
}

/** `struct boot_params`, a page: setup header's magic, pointer to the command line, e820 table. */
function bootParams(commandLine: bigint, ram: readonly PhysicalRange[]): Uint8Array {
  const bytes = Buffer.alloc(4096);
  bytes.write("HdrS", 0x202, "latin1");
  bytes.writeUInt32LE(Number(commandLine & 0xffff_ffffn), 0x228);
  bytes.writeUInt32LE(Number(commandLine >> 32n), 0xc8);
  // An entry of another type stands before those of RAM.
  const entries = [
    [0xf_0000n, 0x1_0000n, 2] as const,
    ...ram.map((r) => [r.start, r.end - r.start, 1] as const),
  ];
  bytes.writeUInt8(entries.length, 0x1e8);
  entries.forEach(([start, size, type], i) => {
    bytes.writeBigUInt64LE(start, 0x2d0 + i * 20);
    bytes.writeBigUInt64LE(size, 0x2d8 + i * 20);
    bytes.writeUInt32LE(type, 0x2e0 + i * 20);
  });
  return bytes;
}

/** The kernel frees an image without clearing it. */
export function unload(kernel: FakeKernel): void {
  kernel.setPointer(0n);
}

function content(role: Role, size: number, seed: number): Uint8Array {
  if (role === "header" || role === "setup-data") return new Uint8Array(size);
  const bytes = new Uint8Array(size);
  bytes.set(noise(role === "boot-params" ? 0x800 : size, seed + role.length));
  // Purgatory's data is mostly zero.
  if (role === "purgatory") bytes.fill(0, 0x3000, 0x5800);
  return bytes;
}

/** What the loader describes: RAM without crash memory and, by the kernel, without the first MiB. */
function loaderHeader(
  kernel: FakeKernel,
  form: Form,
  backup: bigint | undefined,
  { extraRam = [], apart = false }: LoadOptions,
): CoreHeader {
  const excluded = kernel.crashMemory.union(RangeSet.of([LOW_RAM]));
  const together = apart ? BOOT_RAM : BOOT_RAM.union(RangeSet.of(extraRam));
  const ram = [...together.subtract(excluded).ranges, ...(apart ? extraRam : [])];
  const low = form === "load" ? [{ ...LOW_RAM, fileOffset: backup! }] : [];
  return buildCoreHeader({
    cpuNotes: Array.from({ length: kernel.cpus }, (_, cpu) => ({ paddr: kernel.crashNote(cpu), size: 368n })),
    vmcoreinfo: { paddr: PLACES.note, size: 4132n },
    kernelText: { paddr: KERNEL, vaddr: STEXT, size: BigInt(KERNEL_SIZE) },
    ram: [...low, ...ram],
    pageOffset: PAGE_OFFSET,
  });
}
