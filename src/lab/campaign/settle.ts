/** Waits until a guest has done what it was told to, as seen from outside. */
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { parseMemoryDevices } from "../../layout/qmp.ts";
import { RangeSet } from "../../layout/range-set.ts";
import type { QemuGuest } from "../../targets/qemu/guest.ts";
import { MeasurementError } from "../errors.ts";
import { onlineSections, type SectionMap } from "./sections.ts";

const LOOK_MS = 50;
const ONLINE_TIMEOUT_MS = 60_000;
/** A removal takes some tenths of a second. */
const REMOVAL_TIMEOUT_MS = 20_000;

/** Memory devices that QEMU has: what a removal that went well has taken is not among them. */
export async function memoryDevices(lab: Pick<QemuGuest, "memoryDevices">): Promise<RangeSet> {
  return RangeSet.of(
    parseMemoryDevices(await lab.memoryDevices()).flatMap(({ range }) => (range ? [range] : [])),
  );
}

/**
 * Waits until all memory that QEMU has plugged is online.
 *
 * @throws {MeasurementError} where it is not within a minute.
 */
export async function untilAllOnline(lab: QemuGuest, sections: SectionMap): Promise<void> {
  const deadline = performance.now() + ONLINE_TIMEOUT_MS;
  for (;;) {
    await lab.memory.refresh();
    const plugged = await memoryDevices(lab);
    const missing = plugged.subtract(await onlineSections(lab.memory, sections, plugged));
    if (missing.isEmpty) return;
    if (performance.now() > deadline)
      throw new MeasurementError(
        `The guest did not bring ${missing.toString()} online within ${ONLINE_TIMEOUT_MS / 1000} s`,
      );
    await delay(LOOK_MS);
  }
}

/** Asks for the removal of a DIMM, and waits until it has gone. @throws {MeasurementError} where the guest keeps it. */
export async function removeDimm(lab: QemuGuest, remove: () => Promise<void>, id: string): Promise<void> {
  const gone = lab.qmp.waitForEvent(
    ({ event, data }) => event === "DEVICE_DELETED" && v.is(v.object({ device: v.literal(id) }), data),
    { timeoutMs: REMOVAL_TIMEOUT_MS },
  );
  // What goes wrong in the removal is told first.
  gone.catch(() => undefined);
  await remove();
  try {
    await gone;
  } catch (error) {
    throw new MeasurementError(`The guest kept ${id}`, { cause: error });
  }
}
