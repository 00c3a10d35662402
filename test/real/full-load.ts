/** What `keep local` is told to load in a lab guest, which has no distribution's configuration. */
import { GUEST_CAPTURE_INITRAMFS, GUEST_VMLINUZ } from "../../src/lab/initramfs.ts";

export const FULL_LOAD: readonly string[] = Object.entries({
  "--kernel": GUEST_VMLINUZ,
  "--initrd": GUEST_CAPTURE_INITRAMFS,
  "--command-line": "console=ttyS0 nr_cpus=1 reset_devices irqpoll panic=5 acpi_no_memhotplug",
}).flat();
