/** What the running kernel says of kdump in /proc and /sys. */
import { LocalError } from "./error.ts";
import { kernelRefusals, kexecFile, type KexecPermission } from "./kexec-permission.ts";
import type { RootTree } from "./tree.ts";

/** `/sys/kernel/security/lockdown`: what even root may not do. */
export type Lockdown = "none" | "integrity" | "confidentiality";

/** The kernel's own account. A field is undefined where the kernel has no such file, or it may not be read. */
export interface KdumpFacts extends KexecPermission {
  /** `kexec_crash_loaded`. Also no while a load is under way: the old image goes first. */
  readonly crashLoaded: boolean | undefined;
  /** `kexec_crash_size`: bytes of crash memory without its low part. */
  readonly crashSize: bigint | undefined;
  /**
   * `crash_hotplug`: whether the kernel keeps the loaded header true itself (Linux >= 6.6). It also says no where
   * nothing is loaded, and while the kexec lock is held.
   */
  readonly memoryHotplug: boolean | undefined;
  readonly cpuHotplug: boolean | undefined;
  /** `crash_elfcorehdr_size`: bytes that the kernel wants a header's segment to have (Linux >= 6.6). */
  readonly elfcorehdrSize: bigint | undefined;
  readonly lockdown: Lockdown | undefined;
  /** `uname -r`. */
  readonly release: string | undefined;
  /** Whether this is a capture kernel: it has the crashed one's /proc/vmcore. */
  readonly isCaptureKernel: boolean;
}

const DEVICES = "/sys/devices/system";

/** @throws {LocalError} naming the file that does not hold what it should. */
export async function readKdumpFacts(tree: RootTree): Promise<KdumpFacts> {
  return {
    crashLoaded: await flag(tree, ...kexecFile("crash_loaded")),
    crashSize: await number(tree, ...kexecFile("crash_size")),
    memoryHotplug: await flag(tree, `${DEVICES}/memory/crash_hotplug`),
    cpuHotplug: await flag(tree, `${DEVICES}/cpu/crash_hotplug`),
    elfcorehdrSize: await number(
      tree,
      "/sys/kernel/crash_elfcorehdr_size",
      "/sys/kernel/kexec/crash_elfcorehdr_size",
    ),
    kexecLoadDisabled: await flag(tree, "/proc/sys/kernel/kexec_load_disabled"),
    kexecLoadsLeft: await number(tree, "/proc/sys/kernel/kexec_load_limit_panic"),
    lockdown: await lockdown(tree),
    release: (await tree.readText("/proc/sys/kernel/osrelease"))?.trim(),
    isCaptureKernel: await tree.has("/proc/vmcore"),
  };
}

/** Whether what corrects the header from inside, `kexec_load`, would be permitted; undefined where that is not known. */
export interface Repair {
  readonly permitted: boolean | undefined;
  /** In words that complete "because …"; empty where it is permitted. */
  readonly reason: string;
}

/** Whether the kernel would let root correct the header from inside. */
export function repairFromInside(facts: KdumpFacts): Repair {
  const [refusal] = kernelRefusals(facts, "kexec_load");
  if (refusal !== undefined) return { permitted: false, reason: refusal };
  if (facts.kexecLoadDisabled === undefined)
    return { permitted: undefined, reason: "/proc/sys/kernel/kexec_load_disabled is not there" };
  if (facts.lockdown === undefined)
    return {
      permitted: undefined,
      reason:
        "/sys/kernel/security/lockdown is not there (no lockdown in this kernel, or securityfs is not mounted)",
    };
  return { permitted: true, reason: "" };
}

async function first(
  tree: RootTree,
  paths: readonly string[],
): Promise<{ readonly path: string; readonly text: string } | undefined> {
  for (const path of paths) {
    const text = await tree.readText(path);
    if (text !== undefined) return { path, text: text.trim() };
  }
  return undefined;
}

async function flag(tree: RootTree, ...paths: readonly string[]): Promise<boolean | undefined> {
  const found = await first(tree, paths);
  if (found && found.text !== "0" && found.text !== "1") throw unexpected(tree, found, "0 or 1");
  return found && found.text === "1";
}

async function number(tree: RootTree, ...paths: readonly string[]): Promise<bigint | undefined> {
  const found = await first(tree, paths);
  if (found && !/^-?\d{1,19}$/.test(found.text)) throw unexpected(tree, found, "a decimal number");
  return found && BigInt(found.text);
}

/** `none [integrity] confidentiality`: the one in brackets is in force (security/lockdown/lockdown.c). */
async function lockdown(tree: RootTree): Promise<Lockdown | undefined> {
  const found = await first(tree, ["/sys/kernel/security/lockdown"]);
  if (!found) return undefined;
  const word = /\[(none|integrity|confidentiality)\]/.exec(found.text)?.[1];
  if (word === "none" || word === "integrity" || word === "confidentiality") return word;
  throw unexpected(tree, found, "none, integrity or confidentiality in brackets");
}

function unexpected(
  tree: RootTree,
  { path, text }: { readonly path: string; readonly text: string },
  expected: string,
): LocalError {
  const found = JSON.stringify(text.slice(0, 40));
  return new LocalError("malformed", `${tree.shown(path)} is ${found}, expected ${expected}`);
}
