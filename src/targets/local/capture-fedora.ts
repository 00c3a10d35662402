/** What kdumpctl of RHEL and Fedora loads: kdump-lib.sh of kdump-utils 1.0 (and kexec-tools 2.0.20 to 2.0.27 before it). */
import type { ReadTree } from "../../layout/sysfs.ts";
import { type CaptureFiles, isThere, runningCommandLine, runningRelease } from "./capture-facts.ts";
import { parseShellAssignments } from "./shell-assignments.ts";

/** Its variables. */
export const FEDORA_SYSCONFIG = "/etc/sysconfig/kdump";

/** Removed whatever the file says (prepare_cmdline): the initrd of kdump mounts what it needs by itself. */
const ALWAYS_REMOVED = [
  "crashkernel",
  "panic_on_warn",
  "root",
  "rd.lvm.lv",
  "rd.luks.uuid",
  "rd.dm.uuid",
  "rd.md.uuid",
  "fcoe",
  "netroot",
  "rd.iscsi.initiator",
  "iscsi_initiator",
];

/** What to load by `text` of the file; undefined where no kernel is found. */
export async function fedoraCapture(tree: ReadTree, text: string): Promise<CaptureFiles | undefined> {
  const variables = parseShellAssignments(text, FEDORA_SYSCONFIG);
  const set = (name: string): string | undefined => variables.get(name) || undefined;
  const running = await runningCommandLine(tree);
  const release = set("KDUMP_KERNELVER") ?? (await withoutDebug(tree, await runningRelease(tree)));
  if (release === undefined) return undefined;
  const image = set("KDUMP_IMG") ?? "vmlinuz";
  const kernel = await findKernel(tree, {
    directories: (set("KDUMP_BOOTDIR") ?? "/boot /boot/efi /efi /").split(/\s+/),
    release,
    image,
    extension: set("KDUMP_IMG_EXT") ?? "",
    running,
  });
  if (kernel === undefined) return undefined;
  const directory = kernel.slice(0, kernel.lastIndexOf("/"));
  const notes: string[] = [];
  const args = set("KEXEC_ARGS");
  if (args !== undefined && args.trim() !== "-s")
    notes.push(`KEXEC_ARGS (${args}) are options of kexec, and are not used by the system call`);
  if ((await tree.list("/sys/class/watchdog")).length > 0)
    notes.push("kdumpctl also tells watchdog drivers to have no pretimeout, which is not done here");
  return {
    kernel,
    initrd: await findInitrd(tree, directory, release),
    commandLine: fedoraCommandLine(
      set("KDUMP_COMMANDLINE") ?? running,
      set("KDUMP_COMMANDLINE_REMOVE") ?? "",
      set("KDUMP_COMMANDLINE_APPEND") ?? "",
      bootApicId((await tree.readText("/proc/cpuinfo")) ?? ""),
    ),
    source: `kdumpctl (${FEDORA_SYSCONFIG})`,
    notes,
  };
}

/** `base` without what is to be removed, with what is to be appended, and what kdumpctl adds by itself. */
export function fedoraCommandLine(
  base: string,
  remove: string,
  append: string,
  apicId: string | undefined,
): string {
  const removed = new Set([...ALWAYS_REMOVED, ...parameters(remove).map(nameOf)]);
  // `name=` without a value is dropped.
  const kept = parameters(base).filter((p) => !removed.has(nameOf(p)) && !p.endsWith("="));
  const added = [
    ...(apicId === undefined ? [] : [`disable_cpu_apicid=${apicId}`]),
    // The generator hangs in the capture kernel.
    "rd.systemd.gpt_auto=no",
  ];
  return [...kept, ...parameters(append), ...added].join(" ");
}

/** Parameters as the kernel cuts them: at white space outside of double quotes. */
function parameters(text: string): readonly string[] {
  return text.match(/(?:[^\s"]|"[^"]*(?:"|$))+/g) ?? [];
}

function nameOf(parameter: string): string {
  return parameter.split("=")[0] ?? "";
}

/** APIC id of CPU 0 (/proc/cpuinfo): the capture kernel must not wake up the CPU that booted the machine. */
function bootApicId(cpuinfo: string): string | undefined {
  const [first] = cpuinfo.split(/\n\n/).filter((cpu) => /^processor\s*: 0$/m.test(cpu));
  return /^apicid\s*: (\d+)$/m.exec(first ?? "")?.[1];
}

/** A kernel for debugging needs too much memory: the plain one of the same release is taken, where it is installed. */
async function withoutDebug(tree: ReadTree, release: string | undefined): Promise<string | undefined> {
  const plain = release?.replace(/[+-]debug$/, "");
  if (plain === undefined || plain === release) return release;
  return (await isThere(tree, `/usr/lib/modules/${plain}/modules.dep`)) ? plain : release;
}

interface KernelNames {
  readonly directories: readonly string[];
  readonly release: string;
  readonly image: string;
  readonly extension: string;
  readonly running: string;
}

async function findKernel(tree: ReadTree, names: KernelNames): Promise<string | undefined> {
  const { release, image, extension } = names;
  const machineId = (await tree.readText("/etc/machine-id"))?.trim();
  // GRUB's device stands before the path: BOOT_IMAGE=(hd0,gpt2)/vmlinuz-…
  const booted = /(?:^|\s)BOOT_IMAGE=(?:\([^)\s]*\))?(\S+)/.exec(names.running)?.[1];
  const files = [
    ...(booted?.endsWith(release) === true ? [booted] : []),
    `${image}-${release}${extension}`,
    ...(machineId ? [`${machineId}/${release}/${image}`] : []),
  ];
  const ostree = (await isThere(tree, "/run/ostree-booted"))
    ? (await tree.list("/boot/ostree")).map((name) => `/boot/ostree/${name}`)
    : [];
  for (const directory of [...ostree, ...names.directories]) {
    for (const file of files) {
      const path = `${directory}/${file}`.replaceAll(/\/+/g, "/");
      if (await isThere(tree, path)) return path;
    }
  }
  return undefined;
}

/** Beside the kernel, or where /boot cannot be written to; the first name where it is in neither, for the message. */
async function findInitrd(tree: ReadTree, directory: string, release: string): Promise<string> {
  const file = `initramfs-${release}kdump.img`;
  const beside = `${directory}/${file}`;
  for (const path of [beside, `${directory}/initrdkdump`, `/var/lib/kdump/${file}`]) {
    if (await isThere(tree, path)) return path;
  }
  return beside;
}
