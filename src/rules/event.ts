/** Events, and what users write for them. */
import { cpu, type KernelSpec, makeDevice, memoryBlock, type UdevDevice } from "./device.ts";
import { RulesError } from "./error.ts";

/** What happened, in the kernel's word (lib/kobject_uevent.c). */
export const ACTIONS = ["add", "remove", "change", "move", "online", "offline", "bind", "unbind"] as const;

/** An action. */
export type Action = (typeof ACTIONS)[number];

/** One uevent. */
export interface UdevEvent {
  readonly action: Action;
  readonly device: UdevDevice;
  /** Number of the event; it is a property too. */
  readonly seqnum: number;
}

/** An event as it is written on a command line. */
export interface EventSpec {
  readonly action: Action;
  /** Without `/sys`. */
  readonly devpath: string;
}

const ACTION = "read the event";
const EXPECTED = `expected "online:memory40", "add:cpu3" or "add@/devices/...", with one of ${ACTIONS.join(", ")}`;

/**
 * Reads `online:memory40`, `add:cpu3`, or `ACTION@DEVPATH` as `udevadm monitor` prints it, with or without `/sys`.
 *
 * @throws {RulesError} where it is none of these.
 */
export function parseEventSpec(text: string): EventSpec {
  const match = /^([a-z]+)(?::((?:memory|cpu)\d{1,9})|@(?:\/sys)?(\/devices\/[^\n]+))$/.exec(text);
  const action = ACTIONS.find((name) => name === match?.[1]);
  const [, , name, path] = match ?? [];
  if (!action || (name === undefined && path === undefined))
    throw new RulesError(ACTION, JSON.stringify(text.slice(0, 200)), EXPECTED);
  if (name !== undefined) {
    const subsystem = name.startsWith("memory") ? "memory" : "cpu";
    return { action, devpath: `/devices/system/${subsystem}/${name}` };
  }
  const devpath = path!.replace(/\/+$/, "");
  if (devpath.split("/").some((part, i) => i > 0 && (part === "" || part === "." || part === "..")))
    throw new RulesError(
      ACTION,
      JSON.stringify(text.slice(0, 200)),
      "has no plain path, expected /devices/...",
    );
  return { action, devpath };
}

/** What is known of a device beside its path. */
export interface EventSurroundings {
  readonly kernel: KernelSpec;
  /** More variables of the uevent; SUBSYSTEM and DRIVER are the device's. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /** Attributes as a real device has them, in place of the usual ones; such as it has no longer stay gone. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
}

/**
 * The event on a device as kernels make it. Memory blocks and CPUs are in the state in which they are when udevd gets
 * the event: a block that was added is offline, unless the kernel onlines it itself.
 *
 * Of any other device only its path and what `surroundings` says is known.
 */
export function makeEvent(spec: EventSpec, surroundings: EventSurroundings): UdevEvent {
  const { action, devpath } = spec;
  const { kernel, variables = {}, attributes = {} } = surroundings;
  const match = /^\/devices\/system\/(memory|cpu)\/(?:memory|cpu)(\d{1,9})$/.exec(devpath);
  const index = Number(match?.[2]);
  let device: UdevDevice;
  if (match?.[1] === "memory" && devpath.endsWith(`/memory${match[2]}`))
    device = memoryBlock(index, memoryState(action, kernel), kernel);
  else if (match?.[1] === "cpu" && devpath.endsWith(`/cpu${match[2]}`))
    device = cpu(
      index,
      cpuState(action),
      action !== "add" && action !== "remove" && action !== "unbind",
      kernel,
    );
  else device = makeDevice({ devpath });
  return { action, device: withVariables(withAttributes(device, attributes), variables), seqnum: 1 };
}

function withAttributes(device: UdevDevice, attributes: Readonly<Record<string, string>>): UdevDevice {
  if (Object.keys(attributes).length === 0) return device;
  const { attribute } = device;
  return {
    ...device,
    attribute: (name) => {
      const usual = attribute(name);
      return usual !== undefined && Object.hasOwn(attributes, name) ? attributes[name] : usual;
    },
  };
}

function memoryState(action: Action, kernel: KernelSpec): "online" | "offline" | "gone" {
  if (action === "remove") return "gone";
  if (action === "offline") return "offline";
  // The adds of a DIMM come before its onlines; udevd may be late enough to see the block online already.
  if (action === "add" && (kernel.autoOnline ?? "offline") === "offline") return "offline";
  return "online";
}

function cpuState(action: Action): "online" | "offline" | "gone" {
  if (action === "remove") return "gone";
  return action === "online" || action === "change" ? "online" : "offline";
}

function withVariables(device: UdevDevice, variables: Readonly<Record<string, string>>): UdevDevice {
  const { SUBSYSTEM, DRIVER, ...others } = variables;
  if (SUBSYSTEM === undefined && DRIVER === undefined && Object.keys(others).length === 0) return device;
  return {
    ...device,
    subsystem: SUBSYSTEM ?? device.subsystem,
    driver: DRIVER ?? device.driver,
    properties: new Map([
      ...device.properties,
      ...Object.entries(others),
      ...(DRIVER === undefined ? [] : ([["DRIVER", DRIVER]] as const)),
    ]),
  };
}
