/** Which QEMU the lab uses, and whether a newer one is installed first. */
import { FetchError } from "./errors.ts";
import { findQemu, installQemu, isPackaged, isRecent, rootPrefix, type QemuSupply } from "./qemu.ts";
import { RunError } from "./run.ts";
import type { FetchContext, Workshop } from "./workshop.ts";

/**
 * The machine's QEMU; installed where it is missing, replaced where it is old and Debian's own.
 *
 * An old one that cannot be replaced is used, and said so.
 *
 * @param workshop opens apt; called only where something is to be installed.
 * @param install whether the machine may be changed.
 * @throws {FetchError} where there is none and none can be installed.
 */
export async function supplyQemu(
  context: FetchContext,
  workshop: () => Promise<Workshop>,
  install: boolean,
): Promise<QemuSupply> {
  const present = await findQemu(context);
  if (present !== undefined && isRecent(present.version)) return present;
  try {
    if (present !== undefined && !(await isPackaged(context.machine, present.path, context.signal))) {
      throw new FetchError(`${present.path} is not Debian's`);
    }
    if (!install) throw new FetchError("it may not be installed: that was ruled out");
    const place = await workshop();
    const prefix = await rootPrefix(context);
    await installQemu(place, prefix);
  } catch (error) {
    if (present === undefined || !(error instanceof FetchError || error instanceof RunError)) throw error;
    context.log(`Keeping QEMU ${present.version}, which is old: ${error.message}`);
    return present;
  }
  const installed = await findQemu(context);
  if (installed === undefined) throw new FetchError("apt installed QEMU, and yet it is not in PATH");
  if (!isRecent(installed.version)) {
    context.log(`QEMU ${installed.version} is the newest here; before 8.2, kernel 6.12 may crash in it`);
  }
  return installed;
}
