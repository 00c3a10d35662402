/** Shapes of QEMU's answers. Nothing that QEMU says is believed before it has passed one of these. */
import * as v from "valibot";

import { QmpCommandError, QmpReplyError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";

/** An address or a size: QEMU's JSON integer as bigint, 0 to 2^64 - 1. */
const Unsigned64 = v.pipe(
  v.union([v.pipe(v.number(), v.integer()), v.bigint()]),
  v.transform((value) => BigInt(value)),
  v.minValue(0n),
  v.maxValue(0xffff_ffff_ffff_ffffn),
);

const Status = v.object({ status: v.string(), running: v.boolean() });

const Migration = v.object({ status: v.optional(v.string()) });

/** QEMU's run state; `running` is false for everything but the state `running`. */
export interface RunState {
  readonly status: string;
  readonly running: boolean;
}

const Memdevs = v.array(
  v.object({ id: v.optional(v.string()), size: Unsigned64, share: v.optional(v.boolean(), false) }),
);
const Properties = v.array(v.object({ name: v.string(), type: v.string() }));
const MemoryDevices = v.array(
  v.object({
    type: v.string(),
    data: v.object({ id: v.optional(v.string()), memdev: v.optional(v.string()) }),
  }),
);
const DimmAddresses = v.array(
  v.object({
    type: v.string(),
    data: v.object({
      id: v.optional(v.string()),
      addr: v.optional(Unsigned64),
      memaddr: v.optional(Unsigned64),
    }),
  }),
);
const SizeSummary = v.object({ "base-memory": Unsigned64, "plugged-memory": v.optional(Unsigned64) });
const Chardevs = v.array(v.object({ label: v.string(), filename: v.string() }));

async function checked<const TSchema extends v.GenericSchema>(
  qmp: QmpSession,
  schema: TSchema,
  command: string,
  args: Readonly<Record<string, unknown>> = {},
): Promise<v.InferOutput<TSchema>> {
  const reply = await qmp.execute(command, args);
  const result = v.safeParse(schema, reply);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  throw new QmpReplyError(command, `${issue.message}${where === null ? "" : ` at "${where}"`}`);
}

/** `query-status`. */
export async function queryStatus(qmp: QmpSession): Promise<RunState> {
  return await checked(qmp, Status, "query-status");
}

/** Of `query-migrate`: what the last migration is at; undefined where there was none, or QEMU cannot do any. */
export async function queryMigration(qmp: QmpSession): Promise<string | undefined> {
  try {
    return (await checked(qmp, Migration, "query-migrate")).status;
  } catch (error) {
    if (error instanceof QmpCommandError) return undefined;
    throw error;
  }
}

/** `query-memdev`: the memory backends that have an id. */
export async function queryMemdevs(
  qmp: QmpSession,
): Promise<readonly { readonly id?: string | undefined; readonly size: bigint; readonly share: boolean }[]> {
  return await checked(qmp, Memdevs, "query-memdev");
}

/** `qom-list`: children and properties of the object at `path`. */
export async function qomList(
  qmp: QmpSession,
  path: string,
): Promise<readonly { readonly name: string; readonly type: string }[]> {
  return await checked(qmp, Properties, "qom-list", { path });
}

/** `qom-get` of a text property. */
export async function qomText(qmp: QmpSession, path: string, property: string): Promise<string> {
  return await checked(qmp, v.string(), "qom-get", { path, property });
}

/** `qom-get` of a size. */
export async function qomSize(qmp: QmpSession, path: string, property: string): Promise<bigint> {
  return await checked(qmp, Unsigned64, "qom-get", { path, property });
}

/** Of `query-memory-devices`: each device's kind, id and memory backend's path. */
export async function queryDeviceBackends(
  qmp: QmpSession,
): Promise<
  readonly { readonly type: string; readonly id: string | undefined; readonly memdev: string | undefined }[]
> {
  const devices = await checked(qmp, MemoryDevices, "query-memory-devices");
  return devices.map(({ type, data }) => ({ type, id: data.id, memdev: data.memdev }));
}

/** Of `query-memory-devices`: where the device `id` lies; `undefined` where it is not listed. */
export async function queryDeviceAddress(qmp: QmpSession, id: string): Promise<bigint | undefined> {
  const devices = await checked(qmp, DimmAddresses, "query-memory-devices");
  const data = devices.find((device) => device.data.id === id)?.data;
  return data?.addr ?? data?.memaddr;
}

/** Of `query-memory-size-summary`: bytes of boot RAM. */
export async function queryBaseMemory(qmp: QmpSession): Promise<bigint> {
  return (await checked(qmp, SizeSummary, "query-memory-size-summary"))["base-memory"];
}

/** Of `query-memory-size-summary`: bytes of memory devices; undefined where the machine cannot have any. */
export async function queryPluggedMemory(qmp: QmpSession): Promise<bigint | undefined> {
  return (await checked(qmp, SizeSummary, "query-memory-size-summary"))["plugged-memory"];
}

/** `query-chardev`: label and description of each character device. */
export async function queryChardevs(
  qmp: QmpSession,
): Promise<readonly { readonly label: string; readonly filename: string }[]> {
  return await checked(qmp, Chardevs, "query-chardev");
}

/** One command of the human monitor. Its answer is text, errors included. */
export async function humanMonitor(qmp: QmpSession, commandLine: string): Promise<string> {
  return await checked(qmp, v.string(), "human-monitor-command", { "command-line": commandLine });
}
