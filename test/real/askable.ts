/** What rules can ask of a device, for comparing the devices that we make with real ones. */
import type { UdevDevice } from "../../src/rules/device.ts";
import type { FileTree } from "./sysfs-device.ts";

/** What only the machine can say: which CPUs it has, where it put things; no rule of any distribution asks for it. */
const OF_THE_MACHINE = new Set([
  "crash_notes",
  "enabled",
  "isolated",
  "kernel_max",
  "modalias",
  "MODALIAS",
  "nohz_full",
  "offline",
  "possible",
  "present",
]);
/** What only some kernels, devices or states have. */
const SOMETIMES = ["auto_online_blocks", "crash_hotplug", "driver", "online", "state", "valid_zones"];

/** What rules can ask of a device and its parents: properties and attributes, by the directory that they are of. */
export function askable(device: UdevDevice, tree: FileTree): Readonly<Record<string, string | undefined>> {
  const found: Record<string, string | undefined> = {};
  for (let one: UdevDevice | undefined = device; one; one = one.parent) {
    const { devpath, properties, subsystem, driver } = one;
    const directory = `/sys${devpath}/`;
    const names = [...tree.texts.keys(), ...tree.links.keys()]
      .filter((path) => path.startsWith(directory))
      .map((path) => path.slice(directory.length))
      .filter((name) => !name.includes("/"));
    // The root's `online` is a list of CPUs.
    const own = one.parent ? OF_THE_MACHINE : new Set([...OF_THE_MACHINE, "online"]);
    for (const [name, value] of properties) if (!own.has(name)) found[`${devpath} ENV{${name}}`] = value;
    for (const name of [...names, ...SOMETIMES])
      if (!own.has(name)) found[`${devpath} ATTR{${name}}`] = withoutModalias(one.attribute(name));
    Object.assign(found, { [`${devpath} SUBSYSTEM`]: subsystem, [`${devpath} DRIVER`]: driver });
  }
  return found;
}

function withoutModalias(text: string | undefined): string | undefined {
  return text?.trimEnd().replace(/MODALIAS=.*/, "MODALIAS=");
}
