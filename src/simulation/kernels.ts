/** Kernels as data: what differs between them for kdump. Code asks these fields, never the version. */

/** A kernel, as far as kdump can tell it from another one. */
export interface KernelModel {
  /** What users write: `6.1`. */
  readonly name: string;
  /** `uname -r`. */
  readonly release: string;
  /** Whose notes the kernel's own core header lists: since a396d0f81b1c ("for_each_possible_cpu", v6.6) all. */
  readonly cpuNotes: "present" | "possible";
  /**
   * Bytes of the segment that kexec_file_load makes for the core header. `fitting`: as many pages as the header of
   * the moment needs. Else a number, whole pages, with room for what may come.
   */
  readonly headerSegment: "fitting" | number;
  /** Whether kexec_file_load's digest covers the core header; since f7cc804a9fd4 (v6.6) it does not. */
  readonly digestCoversHeader: boolean;
  /** `/sys/kernel/crash_elfcorehdr_size`, and with it the kernel's own handler of hot-plug events; undefined: none. */
  readonly crashElfcorehdrSize: number | undefined;
  /** Whether new memory goes online by itself (CONFIG_MEMORY_HOTPLUG_DEFAULT_ONLINE of Debian's kernels). */
  readonly autoOnline: boolean;
}

/** (2 + NR_CPUS_DEFAULT 64 + CRASH_MAX_MEMORY_RANGES 8192) * 56: a kernel without MAXSMP (arch/x86/kernel/crash.c). */
const ELFCOREHDR_SIZE = (2 + 64 + 8192) * 56;
/** The same with the file header, in whole pages: 0x72000, as seen on 6.12. */
const HOTPLUG_SEGMENT = 0x7_2000;

const before66 = {
  cpuNotes: "present",
  headerSegment: "fitting",
  digestCoversHeader: true,
  crashElfcorehdrSize: undefined,
  autoOnline: false,
} as const;

/** The kernels that can be simulated, oldest first. */
export const KERNELS: readonly KernelModel[] = [
  { name: "5.10", release: "5.10.0-sim-amd64", ...before66 },
  { name: "6.1", release: "6.1.0-sim-amd64", ...before66 },
  {
    name: "6.12",
    release: "6.12.0-sim-amd64",
    cpuNotes: "possible",
    headerSegment: HOTPLUG_SEGMENT,
    digestCoversHeader: false,
    crashElfcorehdrSize: ELFCOREHDR_SIZE,
    autoOnline: true,
  },
];

/** The newest kernel that has its own handler of hot-plug events, or the newest that has none. */
export function kernelFor(hasHandler: boolean): KernelModel {
  return KERNELS.findLast(({ crashElfcorehdrSize }) => (crashElfcorehdrSize !== undefined) === hasHandler)!;
}
