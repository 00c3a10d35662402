/** A memory block and a CPU of a machine, to say what would happen if they came or went. */
import type { HotplugDevice } from "../../rules/forecast.ts";
import type { ReadTree } from "../../layout/sysfs.ts";

const SYSTEM = "/sys/devices/system";

/**
 * The last memory block and the last CPU that the machine has: such as may come and go. CPU 0 never does, so that with
 * no other, and without memory blocks (a kernel without memory hot-plug), the usual device stands for it.
 */
export async function findHotplugDevices(tree: ReadTree): Promise<readonly HotplugDevice[]> {
  return [
    await findDevice(tree, "memory", "memory40", ["phys_device", "removable"]),
    await findDevice(tree, "cpu", "cpu3", ["crash_notes", "crash_notes_size"]),
  ];
}

async function findDevice(
  tree: ReadTree,
  kind: HotplugDevice["kind"],
  usual: string,
  names: readonly string[],
): Promise<HotplugDevice> {
  const pattern = new RegExp(`^${kind}(\\d{1,9})$`);
  const numbers = (await tree.list(`${SYSTEM}/${kind}`)).flatMap((entry) => pattern.exec(entry)?.[1] ?? []);
  const last = Math.max(...numbers.map(Number));
  if (numbers.length === 0 || (kind === "cpu" && last === 0))
    return { kind, name: usual, isPresent: false, attributes: {}, variables: {} };
  const name = `${kind}${last}`;
  const attributes: Record<string, string> = {};
  for (const attribute of names) {
    const text = await tree.readText(`${SYSTEM}/${kind}/${name}/${attribute}`);
    if (text !== undefined) attributes[attribute] = text.trimEnd();
  }
  const uevent = (await tree.readText(`${SYSTEM}/${kind}/${name}/uevent`)) ?? "";
  // The driver is bound after `add`, and is not there then.
  const modalias = /^MODALIAS=(.+)$/m.exec(uevent)?.[1];
  return {
    kind,
    name,
    isPresent: true,
    attributes,
    variables: modalias === undefined ? {} : { MODALIAS: modalias },
  };
}
