/** Names that tell whose they are: what a killed process left behind is known by them. */
import { existsSync, readlinkSync } from "node:fs";

/** A mark within a name: process number and pid namespace. */
export const MARK_PATTERN: string = String.raw`\d+\.\d+`;

/** This process's mark. The namespace is in it because the same number is another process elsewhere. */
export function ownMark(): string {
  return `${process.pid}.${ownNamespace()}`;
}

/** Whether the process of `mark` has certainly ended. One of another pid namespace cannot be told to have. */
export function hasEnded(mark: string): boolean {
  const [pid, namespace] = mark.split(".");
  return namespace === ownNamespace() && namespace !== "0" && !existsSync(`/proc/${pid}`);
}

/** The inode of our pid namespace (namespaces(7)); 0 where it cannot be told. */
function ownNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "0";
  } catch {
    return "0";
  }
}
