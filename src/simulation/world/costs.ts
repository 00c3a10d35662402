/** What everything costs in virtual time: the only numbers of the simulation that are not mechanism. */

/** Milliseconds, unless said. */
export interface Costs {
  /** From `device_add` until the kernel has added a DIMM, without its blocks: ACPI, resource, QEMU's round trips. */
  readonly plugDimm: number;
  /** The same, for each of its blocks. */
  readonly plugBlock: number;
  /** Writing `online` to one block; the kernel does one at a time (device_hotplug_lock). */
  readonly onlineBlock: number;
  /** Putting one block offline. */
  readonly offlineBlock: number;
  /** From an event until udevd has it in a worker, where one is free. */
  readonly udevLatency: number;
  /** A worker of udev for one event, without programs. */
  readonly udevEvent: number;
  /** How many events udev works on at the same time; a number of workers. */
  readonly workers: number;
  /** Start to end of a short program that a rule runs. */
  readonly program: number;
  /** PID 1, serving `systemctl is-active`. */
  readonly isActive: number;
  /** PID 1, serving `systemd-run`. */
  readonly systemdRun: number;
  /** From `systemd-run`'s return until the program that it started does something. */
  readonly transientStart: number;
  /** `kexec -p -u`, whole. */
  readonly unload: number;
  /** What a reload does between unload and load, and before it where nothing is unloaded. */
  readonly reloadWork: number;
  /** `kexec -p`, whole; the system call is its end. */
  readonly load: number;
  /** Of it the system call: the kexec lock is held, and no image is there. */
  readonly loadCall: number;
  /** What a load takes longer for each DIMM that is there (a line of /proc/iomem, an entry of firmware/memmap). */
  readonly loadPerDimm: number;
  /** The kernel's own handler, once: the kexec lock is held, and the pointer is NULL while it copies. */
  readonly handler: number;
  /** A re-arm, whole: one kexec_load that lists the header and a page or two. The kexec lock is held. */
  readonly rearm: number;
  /** From a change until our keeper has looked at the machine and installs. */
  readonly reaction: number;
  /** Bytes that a whole load copies into crash memory: kernel and initrd. */
  readonly imageBytes: number;
}

/** How a number was come by. */
export type Origin = "measured" | "documented" | "calibrated" | "assumed";

/** One cost with its origin. */
export interface SourcedCost {
  readonly value: number;
  readonly origin: Origin;
  readonly source: string;
}

/** All costs with their origins. */
export type SourcedCosts = Readonly<Record<keyof Costs, SourcedCost>>;

const assumed = (value: number, source: string): SourcedCost => ({ value, origin: "assumed", source });
const measured = (value: number, source: string): SourcedCost => ({ value, origin: "measured", source });
const documented = (value: number, source: string): SourcedCost => ({ value, origin: "documented", source });

const LAB = "real guests, QEMU TCG, 2 vCPUs";

/** Costs of a guest of some vCPUs, from the best source that there is for each. */
export const DEFAULT_COSTS: SourcedCosts = {
  plugDimm: documented(300, "480 DIMMs in 144 s (Oracle's blog, 2024-01-09)"),
  plugBlock: assumed(2, "initialising 32,768 struct pages takes 1 to 5 ms"),
  onlineBlock: assumed(1, "no measurement without TCG"),
  offlineBlock: assumed(5, "migrating little memory"),
  udevLatency: assumed(
    0,
    "a machine with CPUs to spare; 90 to 150 ms in real guests busy with a DIMM (QEMU TCG)",
  ),
  udevEvent: assumed(1, "rules, database and broadcast of one event"),
  workers: assumed(24, "8 + 2 per CPU, 8 CPUs (udevd.c, v219 and v239)"),
  program: measured(3, "fork and exec of `bash -c :`"),
  isActive: assumed(8, "its share of 22.21 ms per block, to which RHEL 8's row of the RFC's table comes"),
  systemdRun: assumed(
    14.21,
    "its share of 22.21 ms per block, to which RHEL 8's row of the RFC's table comes",
  ),
  transientStart: assumed(20, "results do not depend on it from 5 to 50 ms"),
  unload: documented(50, "a reload takes 0.5 to 1 s (kdump-utils 227c185): its share of 0.6 s"),
  reloadWork: documented(150, "a reload takes 0.5 to 1 s (kdump-utils 227c185): its share of 0.6 s"),
  load: documented(400, "a reload takes 0.5 to 1 s (kdump-utils 227c185): its share of 0.6 s"),
  loadCall: measured(116, `kexec_load of all segments, 105 to 127 ms (${LAB})`),
  loadPerDimm: assumed(0.03, "three small files of sysfs for each DIMM, 9.6 us each"),
  handler: assumed(0.05, "two resource walks and a copy: tens of microseconds; up to 49 ms under TCG"),
  rearm: measured(1.75, `median of 200 (${LAB})`),
  reaction: measured(5, `QMP event to install (${LAB})`),
  imageBytes: measured(55 * 2 ** 20, "segments of a Debian cloud kernel with its initrd"),
};

/** The numbers alone. */
export function plainCosts(costs: SourcedCosts): Costs {
  const {
    plugDimm,
    plugBlock,
    onlineBlock,
    offlineBlock,
    udevLatency,
    udevEvent,
    workers,
    program,
    isActive,
  } = costs;
  const { systemdRun, transientStart, unload, reloadWork, load, loadCall, handler, rearm } = costs;
  return {
    plugDimm: plugDimm.value,
    plugBlock: plugBlock.value,
    onlineBlock: onlineBlock.value,
    offlineBlock: offlineBlock.value,
    udevLatency: udevLatency.value,
    udevEvent: udevEvent.value,
    workers: workers.value,
    program: program.value,
    isActive: isActive.value,
    systemdRun: systemdRun.value,
    transientStart: transientStart.value,
    unload: unload.value,
    reloadWork: reloadWork.value,
    load: load.value,
    loadCall: loadCall.value,
    loadPerDimm: costs.loadPerDimm.value,
    handler: handler.value,
    rearm: rearm.value,
    reaction: costs.reaction.value,
    imageBytes: costs.imageBytes.value,
  };
}
