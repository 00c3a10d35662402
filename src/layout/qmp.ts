/** QMP replies as layout: what QEMU says the machine has. The replies are hostile input; each field is checked. */
import { LayoutError } from "./error.ts";
import { arrayAt, objectAt, optional, booleanAt, countAt, stringAt, unsignedAt } from "./fields.ts";
import { ADDRESS_END, type PhysicalRange } from "./range.ts";

/** What kind of memory device. Only `dimm` and `virtio-mem` are RAM that the guest kernel adds by itself. */
export type MemoryDeviceKind = "dimm" | "virtio-mem" | "nvdimm" | "other";

/** A memory device of the machine. Sizes in bytes. */
export interface MemoryDevice {
  readonly kind: MemoryDeviceKind;
  readonly id: string | undefined;
  /**
   * Memory that exists now. For virtio-mem the first `size` bytes of `region`: QEMU does not say which blocks are
   * plugged, and Linux plugs from the lowest. undefined where there is none yet (virtio-mem of size 0), or where
   * the reply does not say (hv-balloon).
   */
  readonly range: PhysicalRange | undefined;
  /** Addresses that the device may ever fill; the same as `range` for all but virtio-mem and hv-balloon. */
  readonly region: PhysicalRange | undefined;
  readonly slot: number | undefined;
  readonly node: number | undefined;
  readonly memdev: string | undefined;
  readonly hotplugged: boolean | undefined;
  /** virtio-mem only: what the guest is asked to plug. */
  readonly requestedSize: bigint | undefined;
  /** virtio-mem and hv-balloon only. */
  readonly maxSize: bigint | undefined;
}

/** A CPU slot of the machine. */
export interface HotpluggableCpu {
  /** The driver that `device_add` takes; undefined where no CPU can be added. */
  readonly type: string | undefined;
  readonly vcpusCount: number;
  /** Topology (`socket-id`, `core-id`, ...), passed to `device_add` as it is. */
  readonly props: Readonly<Record<string, number>>;
  readonly qomPath: string | undefined;
  /** Whether a CPU is in the slot: QEMU gives its `qom-path` then, sysfs lists it as present. */
  readonly present: boolean;
}

/**
 * Reads what `query-memory-devices` returned (qapi/machine.json, `MemoryDeviceInfo`).
 *
 * @param reply - the value of `return`. Integers may be number (up to 2^53) or bigint.
 * @throws {LayoutError} naming the field's path, where a field is missing, of another type, negative, fractional,
 *   or where address and size pass 2^64.
 */
export function parseMemoryDevices(reply: unknown): readonly MemoryDevice[] {
  const path = "query-memory-devices";
  return arrayAt(reply, path).map((element, index) => {
    const here = `${path}[${index}]`;
    const entry = objectAt(element, here);
    const type = stringAt(entry["type"], `${here}.type`);
    const data = objectAt(entry["data"], `${here}.data`);
    return memoryDevice(type, data, `${here}.data`);
  });
}

/**
 * Reads what `query-hotpluggable-cpus` returned (qapi/machine.json, `HotpluggableCPU`).
 *
 * @param reply - the value of `return`.
 * @throws {LayoutError} naming the field's path.
 */
export function parseHotpluggableCpus(reply: unknown): readonly HotpluggableCpu[] {
  const path = "query-hotpluggable-cpus";
  return arrayAt(reply, path).map((element, index) => {
    const here = `${path}[${index}]`;
    const entry = objectAt(element, here);
    const qomPath = optional(entry["qom-path"], `${here}.qom-path`, stringAt);
    return {
      type: stringAt(entry["type"], `${here}.type`),
      vcpusCount: countAt(entry["vcpus-count"], `${here}.vcpus-count`),
      props: Object.fromEntries(
        Object.entries(objectAt(entry["props"], `${here}.props`)).map(([name, value]) => [
          name,
          countAt(value, `${here}.props[${JSON.stringify(name.slice(0, 40))}]`),
        ]),
      ),
      qomPath,
      present: qomPath !== undefined,
    };
  });
}

/**
 * Reads what `query-cpus-fast` returned (qapi/machine.json, `CpuInfoFast`): what a machine without CPU hot-plug has.
 *
 * @param reply - the value of `return`.
 * @throws {LayoutError} naming the field's path.
 */
export function parseCpusFast(reply: unknown): readonly HotpluggableCpu[] {
  const path = "query-cpus-fast";
  return arrayAt(reply, path).map((element, index) => {
    const here = `${path}[${index}]`;
    const entry = objectAt(element, here);
    return {
      type: undefined,
      vcpusCount: 1,
      props: {},
      qomPath: stringAt(entry["qom-path"], `${here}.qom-path`),
      present: true,
    };
  });
}

/**
 * Whether the machine has slots for memory: `qom-get` of the property `memory` of `/machine`
 * (qapi/machine.json, `MemorySizeConfiguration`, since QEMU 7.1).
 *
 * @param reply - the value of `return`.
 * @throws {LayoutError} naming the field's path.
 */
export function parseCanGrow(reply: unknown): boolean {
  const path = "/machine.memory";
  const memory = objectAt(reply, path);
  return (optional(memory["slots"], `${path}.slots`, unsignedAt) ?? 0n) > 0n;
}

function memoryDevice(type: string, data: Readonly<Record<string, unknown>>, path: string): MemoryDevice {
  const read = <T>(name: string, reader: (value: unknown, path: string) => T): T | undefined =>
    optional(data[name], `${path}.${name}`, reader);
  const common = {
    id: read("id", stringAt),
    slot: read("slot", countAt),
    node: read("node", countAt),
    memdev: read("memdev", stringAt),
    hotplugged: read("hotplugged", booleanAt),
    requestedSize: undefined,
    maxSize: undefined,
  };
  if (type === "dimm" || type === "nvdimm") {
    const address = unsignedAt(data["addr"], `${path}.addr`);
    const range = extent(address, unsignedAt(data["size"], `${path}.size`), `${path}.size`);
    return { kind: type, ...common, range, region: range };
  }
  if (type === "virtio-mem") {
    const address = unsignedAt(data["memaddr"], `${path}.memaddr`);
    const size = unsignedAt(data["size"], `${path}.size`);
    const maxSize = unsignedAt(data["max-size"], `${path}.max-size`);
    const requestedSize = unsignedAt(data["requested-size"], `${path}.requested-size`);
    if (size > maxSize) {
      throw new LayoutError(
        "read the layout",
        `${path}.size`,
        `is ${size}, expected at most max-size ${maxSize}`,
      );
    }
    const region = extent(address, maxSize, `${path}.max-size`);
    const range = extent(address, size, `${path}.size`);
    return { kind: type, ...common, range, region, requestedSize, maxSize };
  }
  // virtio-pmem, sgx-epc, hv-balloon, and what QEMU will have one day: RAM of the guest's kernel only where the
  // guest makes it so, so all that is needed is not to call it absent.
  const address = read("memaddr", unsignedAt) ?? read("addr", unsignedAt);
  const size = read("size", unsignedAt);
  const maxSize = read("max-size", unsignedAt);
  const range = address === undefined ? undefined : extent(address, size ?? 0n, `${path}.size`);
  const region =
    address === undefined || maxSize === undefined ? range : extent(address, maxSize, `${path}.max-size`);
  return { kind: "other", ...common, range, region, maxSize };
}

function extent(start: bigint, size: bigint, path: string): PhysicalRange | undefined {
  if (start + size > ADDRESS_END) {
    throw new LayoutError(
      "read the layout",
      path,
      `is ${size}, expected at most ${ADDRESS_END - start}, for the address is 0x${start.toString(16)}`,
    );
  }
  return size === 0n ? undefined : { start, end: start + size };
}
