/** libvirt on this machine: its daemon and virsh, installed where they are missing. */
import { aptTrouble } from "./apt.ts";
import { FetchError } from "./errors.ts";
import { findProgram, type Machine } from "./machine.ts";
import { installCommand, rootPrefix } from "./qemu.ts";
import type { FetchContext, Workshop } from "./workshop.ts";

/** A libvirt that the lab may start for itself. Paths are absolute. */
export interface LibvirtSupply {
  readonly libvirtd: string;
  readonly virsh: string;
}

/**
 * Without `libvirt-daemon-system`, which starts a daemon and makes users: the lab's daemon is its own. It cannot be
 * unpacked into the cache, for the places of its drivers are compiled in.
 */
const PACKAGES = ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients"] as const;

/** Daemons are not in every user's PATH. */
const SYSTEM_DIRECTORIES = ["/usr/sbin", "/sbin"];

/** The machine's libvirt, or undefined where it lacks a part of it. */
export async function findLibvirt(machine: Machine): Promise<LibvirtSupply | undefined> {
  const libvirtd =
    (await findProgram(machine, "libvirtd")) ??
    (await findProgram({ ...machine, path: SYSTEM_DIRECTORIES }, "libvirtd"));
  const virsh = await findProgram(machine, "virsh");
  return libvirtd === undefined || virsh === undefined ? undefined : { libvirtd, virsh };
}

/**
 * The machine's libvirt; installed from its own archive where it is missing.
 *
 * @param workshop opens apt; called only where something is to be installed.
 * @param install whether the machine may be changed.
 * @throws {FetchError} where there is none and none can be installed.
 */
export async function supplyLibvirt(
  context: FetchContext,
  workshop: () => Promise<Workshop>,
  install: boolean,
): Promise<LibvirtSupply> {
  const present = await findLibvirt(context.machine);
  if (present !== undefined) return present;
  if (!install) throw new FetchError("it may not be installed: that was ruled out");
  const place = await workshop();
  const prefix = await rootPrefix(context, PACKAGES);
  const suite = place.own.codename;
  context.log(`Installing ${PACKAGES.join(", ")} of ${suite}`);
  const [command, args] = installCommand(await place.withBackports(), prefix, suite, false, PACKAGES);
  const result = await context.machine.run(command, args, {
    purpose: "apt-get install of libvirt",
    limitSeconds: 1800,
    signal: context.signal,
    // As with QEMU: apt ends cleanly on that.
    stopSignal: "SIGINT",
    graceSeconds: 120,
  });
  if (result.code !== 0) throw new FetchError(`apt cannot install libvirt: ${aptTrouble(result)}`);
  const installed = await findLibvirt(context.machine);
  if (installed === undefined)
    throw new FetchError("apt installed libvirt, and yet libvirtd or virsh is not in PATH");
  return installed;
}
