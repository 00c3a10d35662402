/** What a scenario has a guest do, one function each. */
import { dirname } from "node:path";
import { crashKernel, parseIomem, systemRam } from "../layout/iomem.ts";
import type { PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { AgentChannel } from "./channel.ts";
import { LostGuestError } from "./errors.ts";
import type { LabGuest } from "./guest.ts";
import { GUEST_CAPTURE_INITRAMFS, GUEST_VMLINUZ } from "./initramfs.ts";

/** Which system call loads the capture kernel. */
export type LoadCall = "kexec_file_load" | "kexec_load";

/** The capture kernel's parameters, apart from the one that a scenario may leave out. */
const CAPTURE_PARAMETERS = "console=ttyS0 nr_cpus=1 reset_devices irqpoll panic=5";
/** Without it the capture kernel takes hot-added memory as its own RAM, and /proc/vmcore cannot read it. */
const NO_MEMHOTPLUG = "acpi_no_memhotplug";

/** How the capture kernel is loaded. */
export interface CaptureLoad {
  readonly load: LoadCall;
  /** Whether the capture kernel is told not to look for hot-added memory. */
  readonly acpiNoMemhotplug: boolean;
  /** More parameters of the capture kernel. */
  readonly captureAppend?: string | undefined;
}

/** The command that loads the capture kernel, over one that is loaded as well. */
export function loadCommand({ load, acpiNoMemhotplug, captureAppend }: CaptureLoad): string {
  const append = [CAPTURE_PARAMETERS, ...(acpiNoMemhotplug ? [NO_MEMHOTPLUG] : []), captureAppend ?? ""]
    .join(" ")
    .trim();
  return `kexec ${SYSTEM_CALL[load]} --load-panic ${GUEST_VMLINUZ} --initrd=${GUEST_CAPTURE_INITRAMFS} --append="${append}"`;
}

/** The command that unloads the capture kernel. */
export function unloadCommand({ load }: Pick<CaptureLoad, "load">): string {
  return `kexec ${SYSTEM_CALL[load]} --load-panic --unload`;
}

const SYSTEM_CALL: Readonly<Record<LoadCall, string>> = {
  kexec_file_load: "--kexec-file-syscall",
  kexec_load: "--kexec-syscall",
};

/** Loads the capture kernel with the system call that is asked for, and checks that the kernel says so. */
export async function loadCaptureKernel(agent: AgentChannel, options: CaptureLoad): Promise<void> {
  await agent.output(`${loadCommand(options)} && grep -q 1 /sys/kernel/kexec_crash_loaded`, 120_000);
}

/** A file to be written into a guest. */
export interface GuestFile {
  /** Absolute; its directory is made. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  readonly text: string;
}

/** Writes files into the guest: each in one line of shell, whatever is in it. */
export async function writeGuestFiles(agent: AgentChannel, files: readonly GuestFile[]): Promise<void> {
  for (const { path, mode, text } of files) {
    const content = Buffer.from(text).toString("base64");
    await agent.output(
      `mkdir -p ${dirname(path)} && echo ${content} | base64 -d > ${path} && chmod ${mode.toString(8)} ${path}`,
    );
  }
}

/** Where a guest has the modules that its kernel's package came with. */
export const MODULE_DIRECTORY = "/modules";

/**
 * Loads them. Their order is found by trying: which needs which is not written down beside them.
 *
 * @throws {GuestCommandError} where one cannot be loaded.
 */
export async function loadModules(agent: AgentChannel): Promise<void> {
  const unpack = 'for f in *.xz; do [ ! -e "$f" ] || unxz "$f"; done';
  const loadOne = '[ -d /sys/module/${f%.ko} ] || insmod $f 2>/dev/null || left="$left $f"';
  const loadAll = `for pass in 1 2 3 4 5 6; do left=; for f in *.ko; do ${loadOne}; done; [ -n "$left" ] || break; done`;
  await agent.output(
    `(cd ${MODULE_DIRECTORY} && ${unpack} && ${loadAll}; [ -z "$left" ] || { echo "cannot load$left"; false; })`,
  );
}

/** Waits until the guest has every block of `dimms` online. */
export async function waitUntilOnline(agent: AgentChannel, dimms: readonly PhysicalRange[]): Promise<void> {
  const deadline = performance.now() + 60_000;
  const blockSize = BigInt(
    `0x${(await agent.output("cat /sys/devices/system/memory/block_size_bytes")).trim()}`,
  );
  for (;;) {
    const waiting: boolean[] = [];
    for (const { start, end } of dimms) {
      // Each by its name: /proc/iomem lists a DIMM before its blocks are there, so that none that is offline says nothing.
      const loop = `i=${start / blockSize}; while [ $i -lt ${end / blockSize} ]; do grep -q '^online$' /sys/devices/system/memory/memory$i/state || exit 1; i=$((i+1)); done`;
      waiting.push((await agent.run(loop)).status !== 0);
    }
    if (!waiting.includes(true)) return;
    if (performance.now() > deadline) {
      throw new LostGuestError("The guest did not bring the added memory online within 60 s");
    }
  }
}

/**
 * Brings an added CPU online, which Linux leaves to udev, as soon as it is there. One that never was online ends QEMU at a
 * panic (TCG, with or without us).
 */
export async function bringCpuOnline(agent: AgentChannel, cpu: number): Promise<void> {
  const path = `/sys/devices/system/cpu/cpu${cpu}/online`;
  await agent.output(
    `i=0; until [ -e ${path} ]; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.1; done; echo 1 > ${path}; grep -q 1 ${path}`,
    60_000,
  );
}

/**
 * System RAM of the guest without crash memory and without the first MiB, which the kernel leaves out of its headers: what a dump has
 * to contain.
 */
export async function onlineMemory(agent: AgentChannel): Promise<RangeSet> {
  const entries = parseIomem(await agent.output("cat /proc/iomem"));
  const firstMiB = RangeSet.of([{ start: 0n, end: 1n << 20n }]);
  return systemRam(entries).subtract(crashKernel(entries)).subtract(firstMiB);
}

/**
 * Fills hot-added memory with data: memory that was never written is zero and proves nothing.
 *
 * The kernel takes the highest zone first, which is where hot-added memory is, so a file in a tmpfs of about that
 * size lies there. It is made of one block of random bytes again and again, so that pages differ.
 */
export async function fillMemory(agent: AgentChannel, totalMiB: number): Promise<void> {
  const blockMiB = 16;
  await agent.output(
    [
      "mount -t tmpfs -o size=100% fill /fill",
      `dd if=/dev/urandom of=/tmp/block bs=1M count=${blockMiB} 2>/dev/null`,
      `i=0; while [ $i -lt ${Math.ceil(totalMiB / blockMiB)} ]; do cat /tmp/block; i=$((i+1)); done > /fill/data`,
    ].join(" && "),
    300_000,
  );
}

/** QEMU ends right after its guest's serial line. */
const END_MS = 2000;
/** A capture kernel takes 4 to 7 s to its shell on TCG, several times that on a busy machine. */
const CAPTURE_TIMEOUT_MS = 120_000;

/**
 * Panics the guest from inside.
 *
 * @param command - the line of shell that does it. @returns and throws as {@link awaitCapture} does.
 */
export async function panic(
  guest: Pick<LabGuest, "agent" | "end">,
  command = "echo c > /proc/sysrq-trigger",
): Promise<boolean> {
  guest.agent.send(command);
  return await awaitCapture(guest);
}

/**
 * Waits for the capture kernel of a guest that panics.
 *
 * @returns true once the capture kernel's shell reports; false where nothing comes, or the guest resets, which ends
 * QEMU of its own accord (`panic=`, `-no-reboot`).
 * @throws {LostGuestError} where QEMU itself was killed or failed: that says nothing about kdump.
 */
export async function awaitCapture(
  guest: Pick<LabGuest, "agent" | "end">,
  timeoutMs: number = CAPTURE_TIMEOUT_MS,
): Promise<boolean> {
  try {
    await guest.agent.hello("capture", timeoutMs);
    return true;
  } catch (error) {
    if (!(error instanceof LostGuestError)) throw error;
    const end = await guest.end(END_MS);
    if (end === undefined || end.code === 0) return false;
    const how = end.signal === null ? `with exit code ${end.code}` : `by ${end.signal}`;
    throw new LostGuestError(`QEMU itself ended ${how} at the panic, so nothing is known of the dump`, {
      cause: error,
    });
  }
}
