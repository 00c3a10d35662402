/**
 * A machine whose memory holds a Linux kernel with kdump, small but with real bytes: VMCOREINFO note, crash notes,
 * `struct resource` of crash memory, `kexec_crash_image` with its `struct kimage`. fake-loaders.ts loads images.
 */
import { RangeSet } from "../../src/layout/range-set.ts";
import { type PhysicalRange } from "../../src/layout/range.ts";
import { FakeMemory } from "./fake-memory.ts";

export const PAGE_OFFSET = 0xffff_9e3a_0000_0000n;
/** `_stext` under KASLR; the kernel itself lies at {@link KERNEL}, so `phys_base` is negative. */
export const STEXT = 0xffff_ffff_9c00_0000n;
export const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
export const KERNEL = 0x100_0000n;
export const KERNEL_SIZE = 0x4_0000;
export const CRASH: PhysicalRange = { start: 0x3ec0_0000n, end: 0x3f00_0000n };

/** Places in the kernel's data, and in the memory that it has allocated. */
export const PLACES: Readonly<
  Record<
    | "name"
    | "crashkRes"
    | "crashkLowRes"
    | "imagePointer"
    | "crashNotesPointer"
    | "perCpuOffset"
    | "note"
    | "crashNotes"
    | "kimage"
    | "user",
    bigint
  >
> = {
  name: KERNEL + 0x1_0004n,
  crashkRes: KERNEL + 0x2_0000n,
  crashkLowRes: KERNEL + 0x2_0060n,
  imagePointer: KERNEL + 0x3_0008n,
  crashNotesPointer: KERNEL + 0x3_0010n,
  perCpuOffset: KERNEL + 0x3_1000n,
  note: 0x201_0000n,
  crashNotes: 0x202_0600n,
  kimage: 0x203_0400n,
  /** Free for a test's own pages. */
  user: 0x204_0000n,
};

/** `crash_notes`: where a CPU's note is in its unit. */
export const CRASH_NOTES = 0x600n;
/** Units of eight possible CPUs, in two groups as two NUMA nodes have them, with the second node's below the first's. */
export const UNITS: readonly bigint[] = [
  ...Array.from({ length: 4 }, (_, i) => 0x206_0000n + BigInt(i) * 0x2000n),
  ...Array.from({ length: 4 }, (_, i) => 0x205_0000n + BigInt(i) * 0x3000n),
];

export const LOW_RAM: PhysicalRange = { start: 0x1000n, end: 0x9_f000n };
export const HIGH_RAM: PhysicalRange = { start: 1n << 32n, end: (1n << 32n) + 0x4_0000n };

export const BOOT_RAM: RangeSet = RangeSet.of([
  LOW_RAM,
  { start: KERNEL, end: KERNEL + BigInt(KERNEL_SIZE) },
  { start: 0x200_0000n, end: 0x208_0000n },
  CRASH,
  HIGH_RAM,
]);

/** Control pages and whatever segments stand between them take so much from the start of crash memory. */
export const CONTROL_PAGES_SPAN = 0xa000n;
const KIMAGE_BYTES = 1024;

export interface FakeKernelOptions {
  readonly ram?: RangeSet;
  readonly cpus?: number;
  readonly crashkRes?: PhysicalRange | undefined;
  readonly crashkLowRes?: PhysicalRange | undefined;
  /** Per-CPU units of all possible CPUs, by number; without them the kernel has no table that could be found. */
  readonly units?: readonly bigint[];
}

/** A booted kernel; nothing is loaded. */
export class FakeKernel {
  readonly memory: FakeMemory;
  readonly cpus: number;
  readonly crashMemory: RangeSet;
  readonly #units: readonly bigint[] | undefined;

  constructor(options: FakeKernelOptions = {}) {
    const crashkRes = "crashkRes" in options ? options.crashkRes : CRASH;
    const low = options.crashkLowRes;
    this.memory = new FakeMemory(options.ram ?? BOOT_RAM);
    this.cpus = options.cpus ?? 2;
    this.crashMemory = RangeSet.of([crashkRes, low].filter((range) => range !== undefined));
    this.memory.poke(KERNEL, noise(KERNEL_SIZE, 1));
    this.#note("6.1.0-fake-amd64");
    this.memory.poke(PLACES.name, text("Crash kernel\0"));
    this.#resource(PLACES.crashkRes, crashkRes);
    this.#resource(PLACES.crashkLowRes, low);
    // Pointers into the linear mapping that lead elsewhere: to the note, to a user's page, to nothing.
    for (const [i, target] of [PLACES.note, PLACES.user, PLACES.user + 0x400n, 0x80_0000n].entries()) {
      this.memory.poke(KERNEL + 0x2_8000n + BigInt(i * 8), le64(PAGE_OFFSET + target));
    }
    this.setPointer(0n);
    this.#units = options.units;
    if (options.units) this.#perCpuTable(options.units);
    for (let cpu = 0; cpu < this.cpus; cpu++) this.memory.poke(this.crashNote(cpu), new Uint8Array(368));
  }

  crashNote(cpu: number): bigint {
    return this.#units ? this.#units[cpu]! + CRASH_NOTES : PLACES.crashNotes + BigInt(cpu * 0x400);
  }

  /** `kexec_crash_image`, given as a physical address; 0 is NULL. */
  setPointer(kimage: bigint): void {
    this.memory.poke(PLACES.imagePointer, le64(kimage === 0n ? 0n : PAGE_OFFSET + kimage));
  }

  /**
   * `struct kimage` of a capture image, and the pointer to it. Its control pages end {@link CONTROL_PAGES_SPAN} behind the start
   * of the last range of crash memory.
   */
  setImage(entry: bigint, segments: readonly PhysicalRange[], address: bigint = PLACES.kimage): void {
    const bytes = new Uint8Array(KIMAGE_BYTES);
    for (const at of [576, 592, 608]) {
      const self = le64(PAGE_OFFSET + address + BigInt(at));
      bytes.set(self, at);
      bytes.set(self, at + 8);
    }
    const bottom = this.crashMemory.ranges.at(-1)?.start ?? 0n;
    bytes.set(le64(bottom + CONTROL_PAGES_SPAN - 1n), 624);
    bytes.set(le64(entry), 24);
    bytes.set(le64(BigInt(segments.length)), 56);
    segments.forEach(({ start, end }, i) => {
      const size = le64(end - start);
      bytes.set(le64(0x7f00_0000_0000n + start), 64 + i * 32);
      bytes.set(size, 72 + i * 32);
      bytes.set(le64(start), 80 + i * 32);
      bytes.set(size, 88 + i * 32);
    });
    this.memory.poke(address, bytes);
    this.setPointer(address);
  }

  /** What crash_save_cpu does when CPU `cpu` stops in a panic. */
  fillCrashNote(cpu: number): void {
    this.memory.poke(
      this.crashNote(cpu),
      Uint8Array.of(5, 0, 0, 0, 0x50, 1, 0, 0, 1, 0, 0, 0, ...text("CORE\0")),
    );
  }

  /** `crash_notes`, and `__per_cpu_offset` with NR_CPUS of 64. */
  #perCpuTable(units: readonly bigint[]): void {
    this.memory.poke(PLACES.crashNotesPointer, le64(CRASH_NOTES));
    for (let cpu = 0; cpu < 64; cpu++) {
      const unit = units[cpu];
      const offset = unit === undefined ? STEXT + 0x3_0000n : PAGE_OFFSET + unit;
      this.memory.poke(PLACES.perCpuOffset + BigInt(cpu * 8), le64(offset));
    }
  }

  #note(release: string): void {
    this.memory.poke(PLACES.note, vmcoreinfoNote(release, STEXT, KERNEL));
  }

  #resource(address: bigint, range: PhysicalRange | undefined): void {
    const bytes = new Uint8Array(96);
    bytes.set(le64(range?.start ?? 0n), 0);
    bytes.set(le64(range ? range.end - 1n : 0n), 8);
    bytes.set(le64(STEXT + PLACES.name - KERNEL), 16);
    bytes.set(le64(0x8100_0200n), 24);
    this.memory.poke(address, bytes);
  }
}

/** A VMCOREINFO note of a kernel with `_stext` at virtual `stext`, physical `at`. */
export function vmcoreinfoNote(release: string, stext: bigint, at: bigint): Uint8Array {
  const lines = [
    `OSRELEASE=${release}`,
    "PAGESIZE=4096",
    `SYMBOL(_stext)=${stext.toString(16)}`,
    `NUMBER(phys_base)=${at - (stext - START_KERNEL_MAP)}`,
    "",
  ].join("\n");
  const bytes = new Uint8Array(4132);
  bytes.set(Uint8Array.of(11, 0, 0, 0));
  bytes.set(le64(BigInt(lines.length)).subarray(0, 4), 4);
  bytes.set(text("VMCOREINFO\0"), 12);
  bytes.set(text(lines), 24);
  return bytes;
}

export function le64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return bytes;
}

export function text(characters: string): Uint8Array {
  return Buffer.from(characters, "latin1");
}

/** Bytes that look like nothing, the same for the same seed (xorshift32). */
export function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 0x9e37_79b9) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}
