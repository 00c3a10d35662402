/** Devices as udev sees them, made of a guest's real sysfs. */
import { makeDevice, type UdevDevice } from "../../src/rules/device.ts";

/** A piece of a guest's file system, at one moment. Paths are absolute. */
export interface FileTree {
  /** `st_mode` of everything that there is. */
  readonly modes: ReadonlyMap<string, number>;
  /** Texts of the files that can be read. */
  readonly texts: ReadonlyMap<string, string>;
  /** Where links point. */
  readonly links: ReadonlyMap<string, string>;
}

/** Links that udev reads as attributes: the last part of where they point (`sd_device_get_sysattr_value`). */
const LINK_ATTRIBUTES = new Set(["driver", "subsystem", "module"]);

/** The device at `/sys` + `devpath`, and its parents: each directory above it that has a `uevent` file. */
export function sysfsDevice(tree: FileTree, devpath: string): UdevDevice {
  const directory = `/sys${devpath}`;
  const properties: Record<string, string> = {};
  for (const line of tree.texts.get(`${directory}/uevent`)?.split("\n") ?? []) {
    const equals = line.indexOf("=");
    if (equals > 0) properties[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return {
    ...makeDevice({
      devpath,
      subsystem: linkName(tree, `${directory}/subsystem`),
      driver: linkName(tree, `${directory}/driver`),
      properties,
      parent: parentOf(tree, devpath),
    }),
    attribute: (name) => readAttribute(tree, normalize(`${directory}/${name}`)),
  };
}

function parentOf(tree: FileTree, devpath: string): UdevDevice | undefined {
  for (let path = devpath.slice(0, devpath.lastIndexOf("/")); path !== "";) {
    if (tree.modes.has(`/sys${path}/uevent`)) return sysfsDevice(tree, path);
    path = path.slice(0, path.lastIndexOf("/"));
  }
  return undefined;
}

function readAttribute(tree: FileTree, path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (tree.links.has(path)) return LINK_ATTRIBUTES.has(name) ? linkName(tree, path) : undefined;
  return tree.texts.get(path);
}

function linkName(tree: FileTree, path: string): string | undefined {
  const target = tree.links.get(path);
  return target?.slice(target.lastIndexOf("/") + 1);
}

/** Without `.` and `..`; none of the directories in question is a link. */
export function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
