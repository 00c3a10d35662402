/** One value for what the machine has, whoever said so. */
import type { HotpluggableCpu, MemoryDevice } from "./qmp.ts";
import type { PhysicalRange } from "./range.ts";
import { RangeSet } from "./range-set.ts";

/** What the machine has now. */
export interface MachineLayout {
  /**
   * Memory behind which there is something: boot RAM and all memory devices. A virtio-mem device counts with its
   * whole region, because QEMU does not say which of its blocks are plugged: what may be there is never called stale.
   */
  readonly backed: RangeSet;
  readonly devices: readonly MemoryDevice[];
  readonly cpus: readonly HotpluggableCpu[];
  /** Whether memory can be added at all; undefined where nobody says. */
  readonly canGrow: boolean | undefined;
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
