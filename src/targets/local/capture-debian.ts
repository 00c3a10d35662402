/** What kdump-tools of Debian and Ubuntu loads: /usr/sbin/kdump-config of 1.6 to 1.10, as variables and rules. */
import type { ReadTree } from "../../layout/sysfs.ts";
import { type CaptureFiles, isThere, runningCommandLine, runningRelease } from "./capture-facts.ts";
import { parseShellAssignments } from "./shell-assignments.ts";

/** Its variables. */
export const DEBIAN_DEFAULTS = "/etc/default/kdump-tools";

/** Where the file does not set it, or sets it to nothing. */
const DEFAULT_APPEND = "reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb";

/** What to load by `text` of the file; undefined where it names no kernel and the running one's cannot be found. */
export async function debianCapture(tree: ReadTree, text: string): Promise<CaptureFiles | undefined> {
  const variables = parseShellAssignments(text, DEBIAN_DEFAULTS);
  const set = (name: string): string | undefined => variables.get(name) || undefined;
  const notes: string[] = [];
  if ((set("USE_KDUMP") ?? "0") === "0") notes.push(`USE_KDUMP is off in ${DEBIAN_DEFAULTS}`);
  const args = set("KDUMP_KEXEC_ARGS");
  if (args !== undefined)
    notes.push(`KDUMP_KEXEC_ARGS (${args}) are options of kexec, and are not used by the system call`);
  const kernel = set("KDUMP_KERNEL");
  const files = kernel === undefined ? await runningKernel(tree) : { kernel, initrd: set("KDUMP_INITRD") };
  if (files === undefined) return undefined;
  const base = set("KDUMP_CMDLINE") ?? debianCommandLine(await runningCommandLine(tree));
  return {
    ...files,
    commandLine: `${base} ${set("KDUMP_CMDLINE_APPEND") ?? DEFAULT_APPEND}`.trim(),
    source: `kdump-tools (${DEBIAN_DEFAULTS})`,
    notes,
  };
}

/** The running kernel's command line without what a capture kernel must not have. */
export function debianCommandLine(running: string): string {
  return running.replaceAll(/(?:^| )(?:crashkernel|hugepages|hugepagesz|abm)=[^ ]*/g, "").trim();
}

async function runningKernel(tree: ReadTree): Promise<Pick<CaptureFiles, "kernel" | "initrd"> | undefined> {
  const release = await runningRelease(tree);
  if (release === undefined) return undefined;
  for (const kernel of [`/boot/vmlinuz-${release}`, `/boot/vmlinux-${release}`]) {
    if (!(await isThere(tree, kernel))) continue;
    const initrd = `/boot/initrd.img-${release}`;
    return { kernel, initrd: (await isThere(tree, initrd)) ? initrd : undefined };
  }
  return undefined;
}
