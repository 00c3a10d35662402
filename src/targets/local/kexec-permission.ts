/** What keeps a process from kexec, as far as files tell. */
import type { ReadTree } from "../../layout/sysfs.ts";
import type { KexecCall } from "./kexec-error.ts";

/** include/uapi/linux/capability.h */
const CAP_SYS_BOOT = 22n;

/**
 * Why `call` would answer EPERM; none where nothing is known that would.
 *
 * The files are those of the running kernel: of a copied tree, /proc/self is whose it was.
 */
export async function kexecRefusals(tree: ReadTree, call: KexecCall): Promise<readonly string[]> {
  const refusals: string[] = [];
  const status = await tree.readText("/proc/self/status");
  const capabilities = /^CapEff:\s*([0-9a-f]{16})$/m.exec(status ?? "")?.[1];
  if (capabilities !== undefined && ((BigInt(`0x${capabilities}`) >> CAP_SYS_BOOT) & 1n) === 0n)
    refusals.push("this process has no CAP_SYS_BOOT: run it as root, in a container with that capability");
  if ((await tree.readText("/proc/sys/kernel/kexec_load_disabled"))?.trim() === "1")
    refusals.push("kernel.kexec_load_disabled is 1, and stays so until the next boot");
  // Since 6.3; -1 is no limit. Each attempt counts.
  if ((await tree.readText("/proc/sys/kernel/kexec_load_limit_panic"))?.trim() === "0")
    refusals.push("kernel.kexec_load_limit_panic is used up, until the next boot");
  const lockdown = lockdownOf(await tree.readText("/sys/kernel/security/lockdown"));
  if (call === "kexec_load" && (lockdown === "integrity" || lockdown === "confidentiality"))
    refusals.push(
      `the kernel is locked down (${lockdown}): it loads only signed kernels, by kexec_file_load`,
    );
  return refusals;
}

/** The mode in `none [integrity] confidentiality`; undefined where the file was not there, or says something else. */
export function lockdownOf(text: string | undefined): string | undefined {
  return /\[(none|integrity|confidentiality)\]/.exec(text ?? "")?.[1];
}
