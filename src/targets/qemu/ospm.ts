/** What a guest's ACPI says of a device that it is to give up (`_OST`), in words. */
import * as v from "valibot";

/** The `info` of QEMU's ACPI_DEVICE_OST event (qapi/acpi.json, `ACPIOSTInfo`). */
const Ost = v.object({
  info: v.object({
    device: v.optional(v.string()),
    slot: v.string(),
    "slot-type": v.string(),
    source: v.number(),
    status: v.number(),
  }),
});

/** One `_OST` of the guest. */
export interface OspmStatus {
  /** The device's id; undefined for a device without one. */
  readonly device: string | undefined;
  /** The number of its slot, as text. */
  readonly slot: string;
  /** `DIMM` or `CPU`. */
  readonly slotType: string;
  /** What the guest answers to: 1 a device check (insertion), 3 an eject request, 0x103 its own wish to eject. */
  readonly source: number;
  readonly status: number;
}

/** Reads an ACPI_DEVICE_OST event's data; undefined where it is none. */
export function parseOspmStatus(data: unknown): OspmStatus | undefined {
  const { success, output } = v.safeParse(Ost, data);
  if (!success) return undefined;
  const { device, slot, source, status } = output.info;
  return { device, slot, slotType: output.info["slot-type"], source, status };
}

/** "Ejection request" (ACPI 6.5, 6.3.5; include/linux/acpi.h: ACPI_NOTIFY_EJECT_REQUEST). */
export const EJECT_REQUEST = 3;
const SUCCESS = 0;
/** ACPI_OST_SC_EJECT_IN_PROGRESS: Linux sends it as soon as it has taken the request up. */
const IN_PROGRESS = 0x84;

/**
 * include/linux/acpi.h, ACPI_OST_SC_*. Linux makes 0x82 of EBUSY, 0x80 of EPERM, and 1 of every other error
 * (acpi_device_hotplug, drivers/acpi/scan.c, read in 6.12).
 */
const REASONS: ReadonlyMap<number, string> = new Map([
  [1, "it failed for a reason that it does not name"],
  [2, "it does not understand the request"],
  [0x80, "its kernel does not remove that device"],
  [0x81, "a program uses it"],
  [0x82, "it is busy"],
  [0x83, "something that depends on it is busy or cannot be removed"],
]);

/** What keeps a DIMM busy; what keeps a CPU busy is not told. */
const BUSY = 0x82;
const BUSY_DIMM =
  ": some of its memory is in use and cannot be moved elsewhere (what the guest brings online as movable, with memhp_default_state=online_movable for one, can be)";

/** "Device check": Linux answers it when it has added what was plugged (drivers/acpi/scan.c). */
const DEVICE_CHECK = 1;

/** Whether the guest says that it has added a DIMM. */
export function isDimmAdded({ slotType, source, status }: OspmStatus): boolean {
  return slotType === "DIMM" && source === DEVICE_CHECK && status === SUCCESS;
}

/** What an answer to an eject request means. */
export type EjectProgress =
  | { readonly progress: "under-way" }
  | { readonly progress: "done" }
  | { readonly progress: "refused"; readonly reason: string };

/** Judges the status of an answer to an eject request. @param slotType of what is to be ejected, `DIMM` or `CPU`. */
export function judgeEject(status: number, slotType: string): EjectProgress {
  if (status === SUCCESS) return { progress: "done" };
  if (status === IN_PROGRESS) return { progress: "under-way" };
  const words = `${REASONS.get(status) ?? "it gave a status that has no name"}${status === BUSY && slotType === "DIMM" ? BUSY_DIMM : ""}`;
  return {
    progress: "refused",
    reason: `the guest refused: ${words} (ACPI status 0x${status.toString(16)})`,
  };
}
