/** One value for what the machine has, whoever said so. */
import { crashKernel, type IomemEntry, kernelImage, systemRam } from "./iomem.ts";
import type { HotpluggableCpu, MemoryDevice } from "./qmp.ts";
import type { PhysicalRange } from "./range.ts";
import { RangeSet } from "./range-set.ts";
import type { Cpus, CrashNotes, MemoryBlocks } from "./sysfs.ts";

/** What the machine has now. */
export interface MachineLayout {
  /**
   * Memory behind which there is something: boot RAM and all memory devices. A virtio-mem device counts with its
   * whole region, because QEMU does not say which of its blocks are plugged: what may be there is never called stale.
   */
  readonly backed: RangeSet;
  /** Memory devices; empty where the machine is seen from inside, whose kernel does not know them. */
  readonly devices: readonly MemoryDevice[];
  readonly cpus: readonly HotpluggableCpu[];
  /** Whether memory can be added at all; undefined where nobody says. */
  readonly canGrow: boolean | undefined;
  /** What only the machine's own kernel knows; undefined where the machine is seen from outside. */
  readonly inside?: InsideLayout | undefined;
}

/** The layout as the running kernel sees it. Addresses are physical. */
export interface InsideLayout {
  /**
   * Memory that the kernel uses: "System RAM" without blocks that are known to be offline; crash memory included. All
   * of "System RAM" where the states of blocks were not asked for.
   */
  readonly online: RangeSet;
  readonly crashMemory: RangeSet;
  /** From the kernel's text to the end of its data; undefined where /proc/iomem does not list it. */
  readonly kernelText: PhysicalRange | undefined;
  /** Where each present CPU's note is, by CPU number; CPUs whose files may not be read are not in it. */
  readonly cpuNotes: ReadonlyMap<number, CrashNotes>;
  /** Undefined where the kernel has no such file, or it may not be read. */
  readonly vmcoreinfoNote: CrashNotes | undefined;
}

/** `layout` as it will be once the memory device that fills `range` is gone. */
export function layoutWithout(layout: MachineLayout, range: PhysicalRange): MachineLayout {
  return {
    ...layout,
    backed: layout.backed.subtract(RangeSet.of([range])),
    devices: layout.devices.filter(({ region }) => region?.start !== range.start),
  };
}

/** What {@link machineLayoutFromQmp} needs: boot RAM, and parsed replies. */
export interface QmpLayoutSources {
  /** RAM of the machine at its start, where the chipset puts it. */
  readonly bootRam: RangeSet;
  readonly memoryDevices: readonly MemoryDevice[];
  readonly hotpluggableCpus: readonly HotpluggableCpu[];
  /** Whether the machine has slots for memory; left out where QEMU does not say. */
  readonly canGrow?: boolean | undefined;
}

/** The layout of a QEMU machine from its boot RAM and what QMP said (see qmp.ts for the parsers). */
export function machineLayoutFromQmp(sources: QmpLayoutSources): MachineLayout {
  const regions = sources.memoryDevices.map(({ region }) => region).filter(isPresent);
  return {
    backed: sources.bootRam.union(RangeSet.of(regions)),
    devices: sources.memoryDevices,
    cpus: sources.hotpluggableCpus,
    canGrow: sources.canGrow,
  };
}

/** What {@link machineLayoutFromSysfs} needs: what the readers of iomem.ts and sysfs.ts gave. */
export interface SysfsLayoutSources {
  readonly iomem: readonly IomemEntry[];
  /** Undefined where the kernel has no memory hot-plug: then its memory is what /proc/iomem lists. */
  readonly memory: MemoryBlocks | undefined;
  readonly cpus: Cpus;
  readonly vmcoreinfoNote: CrashNotes | undefined;
}

/** The layout of the machine that we run in, from /proc/iomem and sysfs (see iomem.ts and sysfs.ts for the readers). */
export function machineLayoutFromSysfs({
  iomem,
  memory,
  cpus,
  vmcoreinfoNote,
}: SysfsLayoutSources): MachineLayout {
  const blocks = memory?.blocks ?? [];
  const ram = systemRam(iomem);
  const present = new Set(cpus.present);
  return {
    backed: ram.union(RangeSet.of(blocks.map(({ range }) => range))),
    devices: [],
    // Nothing in sysfs says which CPUs were there at the start: none is called hot-added.
    cpus: cpus.possible.map((cpu) => ({
      type: undefined,
      vcpusCount: 1,
      props: {},
      qomPath: undefined,
      present: present.has(cpu),
    })),
    canGrow: memory === undefined ? false : undefined,
    inside: {
      // A block is System RAM from the moment at which the kernel knows it, online or not.
      online: ram.subtract(
        RangeSet.of(blocks.filter(({ state }) => state === "offline").map(({ range }) => range)),
      ),
      crashMemory: crashKernel(iomem),
      kernelText: kernelImage(iomem),
      cpuNotes: cpus.crashNotes,
      vmcoreinfoNote,
    },
  };
}

/**
 * Hot-pluggable memory that a core header must describe: DIMMs, and what virtio-mem devices have plugged.
 *
 * An NVDIMM or another device is not among it: it is RAM of the guest's kernel only where the guest makes it so
 * (dax/kmem), which its own loader then knows.
 */
export function hotpluggableMemory(layout: MachineLayout): RangeSet {
  return RangeSet.of(
    layout.devices
      .filter(isGuestRam)
      .map(({ range }) => range)
      .filter(isPresent),
  );
}

/** Linux leaves the first MiB out of its headers, or copies it (`prepare_elf_headers`, arch/x86/kernel/crash.c). */
const LOW_MEMORY = RangeSet.of([{ start: 0n, end: 1n << 20n }]);

/**
 * Memory that a core header must describe, as far as this layout tells: from inside all that is online but crash
 * memory and the first MiB; from outside what can be hot-plugged, for what else the kernel uses is not seen there.
 */
export function memoryToDescribe(layout: MachineLayout): RangeSet {
  const { inside } = layout;
  return inside === undefined
    ? hotpluggableMemory(layout)
    : inside.online.subtract(inside.crashMemory).subtract(LOW_MEMORY);
}

/** Addresses at which DIMMs and virtio-mem devices are, plugged blocks or not. */
export function hotpluggableRegions(layout: MachineLayout): RangeSet {
  return RangeSet.of(
    layout.devices
      .filter(isGuestRam)
      .map(({ region }) => region)
      .filter(isPresent),
  );
}

function isGuestRam({ kind }: MemoryDevice): boolean {
  return kind === "dimm" || kind === "virtio-mem";
}

function isPresent(range: PhysicalRange | undefined): range is PhysicalRange {
  return range !== undefined;
}
