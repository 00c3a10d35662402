/** Opens a guest of libvirt's as a machine. */
import { QemuGuest } from "../qemu/guest.ts";
import { QemuMachine, type QemuMachineOptions } from "../qemu/machine.ts";
import { LibvirtPlugging } from "./attach.ts";
import { type LibvirtConnectOptions, LibvirtSession } from "./session.ts";

export interface LibvirtMachineOptions extends QemuMachineOptions, LibvirtConnectOptions {}

/**
 * The machine that is libvirt's domain `domain`, a name or a UUID. Close it.
 *
 * @throws {LibvirtError} where there is no such domain that runs; what `QemuGuest.over` and `QemuMachine.over` throw.
 */
export async function openLibvirtMachine(
  domain: string,
  options: LibvirtMachineOptions = {},
): Promise<QemuMachine> {
  const session = await LibvirtSession.open(domain, options);
  const guest = await QemuGuest.over(session, options);
  const plugging = new LibvirtPlugging(session);
  return await QemuMachine.over(`libvirt:${domain}`, guest, { ...options, plugging });
}
