/** A device as udev sees it in an event, and memory blocks and CPUs as kernels make them. */

/** What rules can ask of a device. */
export interface UdevDevice {
  /** Without `/sys`: `/devices/system/memory/memory40`. */
  readonly devpath: string;
  /** The last part of it, with `/` for `!`: `memory40`. */
  readonly sysname: string;
  /** Where its `subsystem` link points; the roots /devices/system/memory and .../cpu have none. */
  readonly subsystem: string | undefined;
  readonly driver: string | undefined;
  /** The uevent's variables, without ACTION, DEVPATH, SUBSYSTEM and SEQNUM. */
  readonly properties: ReadonlyMap<string, string>;
  readonly tags: ReadonlySet<string>;
  /** Names below /dev, without it; neither memory blocks nor CPUs have any. */
  readonly links: readonly string[];
  readonly node: DeviceNode | undefined;
  /** Number of a network interface. */
  readonly ifindex: number | undefined;
  /** The next directory upwards that is a device, that is, has a `uevent` file. */
  readonly parent: UdevDevice | undefined;
  /** A sysfs attribute's text; undefined where there is none, or it cannot be read. */
  readonly attribute: (name: string) => string | undefined;
}

/** `/dev/...` of a device. */
export interface DeviceNode {
  /** Without `/dev/`. */
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/** What {@link makeDevice} takes; what is left out is not there. */
export interface DeviceSpec {
  readonly devpath: string;
  readonly subsystem?: string | undefined;
  readonly driver?: string | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly links?: readonly string[] | undefined;
  readonly node?: DeviceNode | undefined;
  readonly ifindex?: number | undefined;
  readonly parent?: UdevDevice | undefined;
}

const NO_PROPERTIES: ReadonlyMap<string, string> = new Map();
const NO_TAGS: ReadonlySet<string> = new Set();

/** A device from what is known about it. */
export function makeDevice(spec: DeviceSpec): UdevDevice {
  const attributes = spec.attributes ?? {};
  return {
    devpath: spec.devpath,
    sysname: sysnameOf(spec.devpath),
    subsystem: spec.subsystem,
    driver: spec.driver,
    properties: spec.properties ? new Map(Object.entries(spec.properties)) : NO_PROPERTIES,
    tags: spec.tags ? new Set(spec.tags) : NO_TAGS,
    links: spec.links ?? [],
    node: spec.node,
    ifindex: spec.ifindex,
    parent: spec.parent,
    attribute: (name) => (Object.hasOwn(attributes, name) ? attributes[name] : undefined),
  };
}

/** `cciss/c0d0` of `/devices/.../cciss!c0d0` (`device_set_sysname_and_sysnum`). */
export function sysnameOf(devpath: string): string {
  return devpath.slice(devpath.lastIndexOf("/") + 1).replaceAll("!", "/");
}

/** `$number`: the digits at the end of a name; none where all of it is digits. */
export function sysnumOf(sysname: string): string {
  const digits = /\d+$/.exec(sysname)?.[0] ?? "";
  return digits === sysname ? "" : digits;
}

/** What the kernel says in crash_hotplug (since 6.6, with CONFIG_CRASH_HOTPLUG): `absent` is no such file. */
export type CrashHotplug = "0" | "1" | "absent";

/** The machine behind memory blocks and CPUs. */
export interface KernelSpec {
  readonly crashHotplug: CrashHotplug;
  /** Bytes of a memory block; 128 MiB where it is not given. */
  readonly blockSize?: bigint | undefined;
  /** `auto_online_blocks`; `offline` where it is not given, as in Debian's 5.10 and 6.1. */
  readonly autoOnline?: "offline" | "online" | "online_kernel" | "online_movable" | undefined;
}

function crashHotplugAttribute({ crashHotplug }: KernelSpec): Readonly<Record<string, string>> {
  return crashHotplug === "absent" ? {} : { crash_hotplug: crashHotplug };
}

/** Thousands of blocks have one parent. */
const MEMORY_ROOTS = new WeakMap<KernelSpec, UdevDevice>();

/** /sys/devices/system/memory: a device without subsystem (`subsys_system_register`), the parent of every block. */
export function memoryRoot(kernel: KernelSpec): UdevDevice {
  const known = MEMORY_ROOTS.get(kernel);
  if (known) return known;
  const root = makeDevice({
    devpath: "/devices/system/memory",
    attributes: {
      auto_online_blocks: kernel.autoOnline ?? "offline",
      block_size_bytes: (kernel.blockSize ?? 0x800_0000n).toString(16),
      ...crashHotplugAttribute(kernel),
    },
  });
  MEMORY_ROOTS.set(kernel, root);
  return root;
}

/** /sys/devices/system/cpu. */
export function cpuRoot(kernel: KernelSpec): UdevDevice {
  return makeDevice({ devpath: "/devices/system/cpu", attributes: crashHotplugAttribute(kernel) });
}

/**
 * Memory block `index` at the time of an event (Linux 5.10 to 6.12, drivers/base/memory.c).
 *
 * The uevent has no variables of its own. `gone`: a removed block's directory, and so its attributes, are gone when
 * udevd looks.
 */
export function memoryBlock(
  index: number,
  state: "online" | "offline" | "going-offline" | "gone",
  kernel: KernelSpec,
): UdevDevice {
  return makeDevice({
    devpath: `/devices/system/memory/memory${index}`,
    subsystem: "memory",
    attributes:
      state === "gone"
        ? {}
        : {
            online: state === "online" ? "1" : "0",
            phys_device: "0",
            phys_index: index.toString(16).padStart(8, "0"),
            removable: "1",
            state,
            subsystem: "memory",
          },
    parent: memoryRoot(kernel),
  });
}

/**
 * CPU `index` at the time of an event (x86; drivers/base/cpu.c, drivers/acpi/processor_driver.c).
 *
 * `bound`: the processor driver is bound, which is after `add`. CPU 0 has no `online` file (6.5 on; before, only with
 * cpu0_hotplug).
 */
export function cpu(
  index: number,
  state: "online" | "offline" | "gone",
  bound: boolean,
  kernel: KernelSpec,
): UdevDevice {
  const driver = bound ? "processor" : undefined;
  return makeDevice({
    devpath: `/devices/system/cpu/cpu${index}`,
    subsystem: "cpu",
    driver,
    properties: {
      MODALIAS: "cpu:type:x86,ven0002fam0019mod0001:feature:,0000",
      ...(driver === undefined ? {} : { DRIVER: driver }),
    },
    attributes:
      state === "gone"
        ? {}
        : {
            crash_notes: "277c38600",
            crash_notes_size: "368",
            subsystem: "cpu",
            ...(driver === undefined ? {} : { driver }),
            ...(index === 0 ? {} : { online: state === "online" ? "1" : "0" }),
          },
    parent: cpuRoot(kernel),
  });
}
