/** What is loaded as a capture kernel, and what the running system tells of itself for that. */
import { basename, dirname } from "node:path/posix";
import type { ReadTree } from "../../layout/sysfs.ts";

/** A capture kernel to be loaded. Paths are absolute. */
export interface CaptureFiles {
  readonly kernel: string;
  /** undefined where there is none. */
  readonly initrd: string | undefined;
  /** Without `elfcorehdr=`, which the loader adds. */
  readonly commandLine: string;
  /** Where that was found, in words. */
  readonly source: string;
  /** What is not as the distribution would do it, or should be known; sentences without a full stop. */
  readonly notes: readonly string[];
}

/** Whether there is a file or a link of that name. */
export async function isThere(tree: ReadTree, path: string): Promise<boolean> {
  return (await tree.list(dirname(path))).includes(basename(path));
}

/** The running kernel's release, `uname -r`; undefined where it cannot be told. */
export async function runningRelease(tree: ReadTree): Promise<string | undefined> {
  return (await tree.readText("/proc/sys/kernel/osrelease"))?.trim() || undefined;
}

/** The running kernel's command line, one line; empty where it cannot be read. */
export async function runningCommandLine(tree: ReadTree): Promise<string> {
  return ((await tree.readText("/proc/cmdline")) ?? "").trim();
}
