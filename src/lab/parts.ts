/** From supplies to what a guest boots: the two initramfs images, built once per run. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { INIT_SCRIPT } from "./agent.ts";
import type { CpioEntry } from "./cpio.ts";
import type { LabSupplies } from "./fetch/supplies.ts";
import { captureInitramfs, guestInitramfs } from "./initramfs.ts";
import { MODULE_DIRECTORY } from "./guest-actions.ts";
import { type AcceleratorChoice, makeLabDirectory } from "./guest.ts";
import type { LabParts } from "./scenario.ts";
import { nodeEntries } from "./node.ts";
import { makedumpfileEntries } from "./tools.ts";
import { udevEntries } from "./udev.ts";

/** Parts on disk until disposed of. */
export interface BuiltParts extends LabParts, AsyncDisposable {}

/** Builds the guest's initramfs (with the capture kernel and its initramfs inside) into a directory of its own. */
export async function buildParts(supplies: LabSupplies, accelerator: AcceleratorChoice): Promise<BuiltParts> {
  const directory = await makeLabDirectory();
  const remove = async (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const { busybox, kexec, kernel, qemu, udev, tools, node } = supplies;
    const capture = await captureInitramfs({
      busybox,
      initScript: INIT_SCRIPT,
      extraFiles: tools === undefined ? [] : await makedumpfileEntries(tools),
    });
    const initramfs = join(directory, "guest.cpio.gz");
    const guest = {
      busybox,
      initScript: INIT_SCRIPT,
      kexec,
      vmlinuz: kernel.vmlinuz,
      captureInitramfs: capture,
      extraFiles: [
        ...(udev === undefined ? [] : await udevEntries(udev)),
        ...(await moduleEntries(kernel.modules)),
        ...(node === undefined ? [] : await nodeEntries(node)),
      ],
    };
    await writeFile(initramfs, await guestInitramfs(guest));
    return {
      qemu: qemu.path,
      vmlinuz: kernel.vmlinuz,
      initramfs,
      accelerator,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function moduleEntries(modules: readonly string[]): Promise<readonly CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const path of modules) {
    const name = `${MODULE_DIRECTORY.slice(1)}/${basename(path)}`;
    entries.push({ kind: "file", name, mode: 0o644, data: await readFile(path) });
  }
  return entries;
}
