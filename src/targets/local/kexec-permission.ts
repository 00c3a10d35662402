/** What keeps a process from kexec, as far as files tell. */
import type { ReadTree } from "../../layout/sysfs.ts";
import type { KexecCall } from "./kexec-error.ts";

/** include/uapi/linux/capability.h */
const CAP_SYS_BOOT = 22n;

/** What the kernel says of loading; a field is undefined where it does not. */
export interface KexecPermission {
  /** `kernel.kexec_load_disabled`. */
  readonly kexecLoadDisabled: boolean | undefined;
  /** `kernel.kexec_load_limit_panic`: loads that are left (Linux >= 6.3; each attempt counts); -1 is no limit. */
  readonly kexecLoadsLeft: bigint | undefined;
  /** `none`, `integrity` or `confidentiality`. */
  readonly lockdown: string | undefined;
}

/**
 * Why the kernel would answer `call` of root's with EPERM, in the order in which it looks (kexec_load_check(),
 * kernel/kexec.c); none where nothing is known that would.
 */
export function kernelRefusals(permission: KexecPermission, call: KexecCall): readonly string[] {
  const { kexecLoadDisabled, kexecLoadsLeft, lockdown } = permission;
  const refusals: string[] = [];
  if (kexecLoadDisabled === true)
    refusals.push("kernel.kexec_load_disabled is 1, and stays so until the next boot");
  if (kexecLoadsLeft === 0n)
    refusals.push("kernel.kexec_load_limit_panic is 0, and stays so until the next boot");
  if (call === "kexec_load" && (lockdown === "integrity" || lockdown === "confidentiality"))
    refusals.push(
      `the kernel is locked down (lockdown=${lockdown}): it loads only signed kernels, by kexec_file_load`,
    );
  return refusals;
}

/**
 * Why `call` of this process would answer EPERM; none where nothing is known that would.
 *
 * The files are those of the running kernel: of a copied tree, /proc/self is whose it was.
 */
export async function kexecRefusals(tree: ReadTree, call: KexecCall): Promise<readonly string[]> {
  const status = await tree.readText("/proc/self/status");
  const capabilities = /^CapEff:\s*([0-9a-f]{16})$/m.exec(status ?? "")?.[1];
  const mayBoot = capabilities === undefined || ((BigInt(`0x${capabilities}`) >> CAP_SYS_BOOT) & 1n) === 1n;
  const permission = {
    kexecLoadDisabled: (await tree.readText("/proc/sys/kernel/kexec_load_disabled"))?.trim() === "1",
    kexecLoadsLeft:
      (await tree.readText("/proc/sys/kernel/kexec_load_limit_panic"))?.trim() === "0" ? 0n : undefined,
    lockdown: lockdownOf(await tree.readText("/sys/kernel/security/lockdown")),
  };
  return [
    ...(mayBoot
      ? []
      : ["this process has no CAP_SYS_BOOT: run it as root, in a container with that capability"]),
    ...kernelRefusals(permission, call),
  ];
}

/** Its place, and the one that it has besides since 6.19 (Documentation/ABI/testing/sysfs-kernel-kexec-kdump). */
export function kexecFile(name: string): readonly [string, string] {
  return [`/sys/kernel/kexec_${name}`, `/sys/kernel/kexec/${name}`];
}

/** That the running kernel has no kexec at all, in a sentence; undefined where it has. Nothing can ever be loaded then. */
export async function kexecMissing(tree: ReadTree): Promise<string | undefined> {
  const places = kexecFile("crash_loaded");
  for (const path of places) if ((await tree.readText(path)) !== undefined) return undefined;
  return `${places[0]} does not exist: /sys is not mounted, or this kernel was built without kexec (CONFIG_KEXEC_CORE)`;
}

/** The mode in `none [integrity] confidentiality`; undefined where the file was not there, or says something else. */
export function lockdownOf(text: string | undefined): string | undefined {
  return /\[(none|integrity|confidentiality)\]/.exec(text ?? "")?.[1];
}
