/** Asks a guest to give up a DIMM or a CPU, and hears what it says to that. */
import * as v from "valibot";

import type { BackendFate, RemovableCpu, RemovableDimm, RemovalAnswer } from "../../keeper/machine.ts";
import { type HotpluggableCpu, type MemoryDevice, parseMemoryDevices } from "../../layout/qmp.ts";
import { EJECT_REQUEST, judgeEject, parseOspmStatus } from "./ospm.ts";
import { isOurBackend } from "./plug.ts";
import { QmpCommandError, QmpTimeoutError } from "./qmp-errors.ts";
import type { QmpEvent } from "./qmp-message.ts";
import type { QmpSession } from "./qmp-session.ts";
import { qomList, qomSize, queryStatus } from "./replies.ts";

/** What identifies a device in QEMU's commands and events. */
interface DeviceIdentity {
  readonly slotType: "DIMM" | "CPU";
  /** Its id; undefined where it has none. */
  readonly id: string | undefined;
  /** What `device_del` takes: its id, else its QOM path. */
  readonly name: string;
  readonly slot: number | undefined;
}

/** Devices that have an id. */
const WITH_ID = "/machine/peripheral/";

/** Where QEMU has devices without an id. */
const ANONYMOUS = "/machine/peripheral-anon";

/** The DIMMs that the guest has now, whoever plugged them, those of QEMU's command line among them. */
export async function removableDimms(qmp: QmpSession): Promise<readonly RemovableDimm[]> {
  const dimms: RemovableDimm[] = [];
  for (const device of parseMemoryDevices(await qmp.execute("query-memory-devices"))) {
    const { kind, id, range, slot } = device;
    if (kind !== "dimm" || range === undefined) continue;
    const name = id ?? (await anonymousPath(qmp, device));
    if (name === undefined) continue;
    const backend = ownBackend(device);
    dimms.push({
      kind: "dimm",
      name,
      range,
      remove: async (limitMs, asked) => {
        const identity = { slotType: "DIMM", name, id, slot } as const;
        return removeDevice(qmp, identity, limitMs, asked);
      },
      releaseBackend: async () => deleteBackend(qmp, backend),
    });
  }
  return dimms;
}

/**
 * The CPUs among `cpus` that are there.
 *
 * One without an id is not asked for: the guest's answer would not say which CPU it is about, and those that QEMU starts
 * with have none, the boot CPU among them, which cannot go.
 */
export function removableCpus(qmp: QmpSession, cpus: readonly HotpluggableCpu[]): readonly RemovableCpu[] {
  return cpus.flatMap(({ qomPath }): readonly RemovableCpu[] => {
    if (qomPath === undefined) return [];
    const id = qomPath.startsWith(WITH_ID) ? qomPath.slice(WITH_ID.length) : undefined;
    const name = id ?? qomPath;
    return [
      {
        kind: "cpu",
        name,
        fixed:
          id === undefined
            ? "it has no id; only CPUs that were added with one can be removed, not those that the guest started with"
            : undefined,
        remove: async (limitMs, asked) =>
          removeDevice(qmp, { slotType: "CPU", name, id, slot: undefined }, limitMs, asked),
      },
    ];
  });
}

/** The id of the device's backend, where `plug` has made both. */
function ownBackend({ id, memdev }: MemoryDevice): string | undefined {
  const backend = memdev?.replace(/^\/objects\//, "");
  return id !== undefined && backend !== undefined && isOurBackend(id, backend) ? backend : undefined;
}

/** The QOM path of a DIMM without an id: it is known by its address. */
async function anonymousPath(qmp: QmpSession, { range }: MemoryDevice): Promise<string | undefined> {
  for (const { name, type } of await qomList(qmp, ANONYMOUS)) {
    const path = `${ANONYMOUS}/${name}`;
    if (type === "child<pc-dimm>" && (await qomSize(qmp, path, "addr")) === range?.start) return path;
  }
  return undefined;
}

/** Events that name a device by its id, or by its path. */
const DeviceData = v.object({
  device: v.optional(v.string()),
  path: v.optional(v.string()),
  msg: v.optional(v.string()),
});

/**
 * Asks the guest for `device`, and waits for what it says: DEVICE_DELETED once it is gone, a status of its ACPI
 * where it does not give it up. What comes after the limit is not heard here.
 */
async function removeDevice(
  qmp: QmpSession,
  device: DeviceIdentity,
  limitMs: number,
  asked: () => void,
): Promise<RemovalAnswer> {
  const before = await queryStatus(qmp);
  if (!before.running) {
    return {
      answer: "refused",
      reason: `nothing was asked for: a guest that does not run ("${before.status}") cannot give anything up; let it run first`,
    };
  }
  let underWay = false;
  let answer: RemovalAnswer | undefined;
  const heard = qmp.waitForEvent(
    (event) => {
      const said = whatItSays(event, device);
      if (said === "under-way") underWay = true;
      else answer ??= said;
      return answer !== undefined;
    },
    { timeoutMs: limitMs },
  );
  // Where the request itself fails, nobody waits for this one.
  heard.catch(() => undefined);
  asked();
  try {
    await qmp.execute("device_del", { id: device.name });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    return { answer: "refused", reason: `nothing was asked for: QEMU says "${error.desc}"` };
  }
  try {
    await heard;
  } catch (error) {
    if (!(error instanceof QmpTimeoutError)) throw error;
    return { answer: "pending", reason: await whyPending(qmp, limitMs, underWay) };
  }
  return answer ?? { answer: "pending", reason: "the guest's answer was not understood" };
}

/** What an event says of the removal of `wanted`; undefined where it is about something else. */
function whatItSays(
  { event, data }: QmpEvent,
  wanted: DeviceIdentity,
): RemovalAnswer | "under-way" | undefined {
  if (event === "ACPI_DEVICE_OST") {
    const status = parseOspmStatus(data);
    if (status === undefined || status.source !== EJECT_REQUEST || status.slotType !== wanted.slotType)
      return undefined;
    // QEMU leaves the id of a device out that has none.
    const about =
      wanted.id === undefined
        ? status.device === undefined && status.slot === String(wanted.slot)
        : status.device === wanted.id;
    if (!about) return undefined;
    const judged = judgeEject(status.status, status.slotType);
    // That it is done is believed when QEMU says that the device is gone.
    return judged.progress === "refused" ? { answer: "refused", reason: judged.reason } : "under-way";
  }
  const named = v.safeParse(DeviceData, data);
  if (!named.success) return undefined;
  const { device, path, msg } = named.output;
  // QEMU 10.0 tells of a CPU's APIC only: of the CPU itself once nobody refers to it, which does not come to pass.
  const isPart = wanted.slotType === "CPU" && path?.startsWith(`${WITH_ID}${wanted.id}/`) === true;
  if (event === "DEVICE_DELETED" && isPart) return { answer: "removed" };
  if (!(wanted.id === undefined ? path === wanted.name : device === wanted.id)) return undefined;
  if (event === "DEVICE_DELETED") return { answer: "removed" };
  if (event === "MEM_UNPLUG_ERROR" || event === "DEVICE_UNPLUG_GUEST_ERROR") {
    const words = msg === undefined ? "" : `: "${msg}"`;
    return { answer: "refused", reason: `QEMU could not take it out (${event}${words})` };
  }
  return undefined;
}

async function whyPending(qmp: QmpSession, limitMs: number, underWay: boolean): Promise<string> {
  const { running, status } = await queryStatus(qmp);
  const heard = underWay
    ? "the guest has taken the request up and not finished"
    : running
      ? "the guest has said nothing"
      : `the guest does not run any more ("${status}")`;
  return `${heard} within ${limitMs / 1000} s; it may still give it up later`;
}

/** Deletes the backend of a DIMM that is gone. @param backend its id; undefined where it is somebody else's. */
async function deleteBackend(qmp: QmpSession, backend: string | undefined): Promise<BackendFate> {
  if (backend === undefined)
    return { fate: "left", reason: "its backend is not of plug's making and was left" };
  try {
    await qmp.execute("object-del", { id: backend });
    return { fate: "deleted" };
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    return { fate: "left", reason: `its backend "${backend}" is left behind: QEMU says "${error.desc}"` };
  }
}
