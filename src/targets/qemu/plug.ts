/** Hot-plugs memory: a backend, then a DIMM in front of it; nothing stays behind when the second fails. And CPUs. */
import type { AllocatedDimm } from "../../keeper/machine.ts";
import { type HotpluggableCpu, parseHotpluggableCpus } from "../../layout/qmp.ts";
import { QmpCommandError, QmpError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { qomList, queryDeviceAddress } from "./replies.ts";

/** What to plug. */
export interface DimmRequest {
  /** Bytes; QEMU wants a multiple of its alignment (2 MiB on x86), Linux of its memory blocks (128 MiB or more). */
  readonly size: bigint;
  /** The device's id; the first free `kdh-mem0`, `kdh-mem1`, ... unless told. */
  readonly id?: string | undefined;
  /** Guest physical address; QEMU takes the lowest that is free unless told. Linux wants whole memory blocks. */
  readonly address?: bigint | undefined;
  /** NUMA node; QEMU takes 0 unless told. */
  readonly node?: number | undefined;
  /** Put it where we can reach it without stopping the guest: a memfd, or a file at `path`. */
  readonly shared?: { readonly kind: "memfd" } | { readonly kind: "file"; readonly path: string } | undefined;
}

/** A DIMM that QEMU has plugged. The guest has been told; whether it took it is another matter. */
export interface PluggedDimm {
  readonly id: string;
  /** The backend's id, for `object-del` after the DIMM has gone. */
  readonly memdev: string;
  readonly address: bigint;
  readonly size: bigint;
}

/** QEMU would not plug a DIMM; the guest is as it was. */
export class PlugError extends QmpError {
  override readonly name = "PlugError";
}

const ID_PREFIX = "kdh-mem";
const backendOf = (id: string): string => `${id}-backend`;

/** Whether the DIMM `id` and its backend have names that `plug` gives: then it has made both. */
export function isOurBackend(id: string, backend: string): boolean {
  return new RegExp(`^${ID_PREFIX}\\d+$`).test(id) && backend === backendOf(id);
}

/** A DIMM whose backend is there. */
export interface DimmBackend extends AllocatedDimm {
  /** The id that the device will have. */
  readonly id: string;
  readonly memdev: string;
}

/** Adds a DIMM's backend. @throws {PlugError} with QEMU's words. */
export async function allocateDimm(qmp: QmpSession, request: DimmRequest): Promise<DimmBackend> {
  const id = request.id ?? (await freeId(qmp));
  const memdev = backendOf(id);
  const size = `${request.size} bytes`;
  const { shared } = request;
  const kind = shared === undefined ? "ram" : shared.kind;
  try {
    await qmp.execute("object-add", {
      "qom-type": `memory-backend-${kind}`,
      id: memdev,
      size: request.size,
      ...(shared === undefined ? {} : { share: true }),
      ...(shared?.kind === "file" ? { "mem-path": shared.path } : {}),
    });
  } catch (error) {
    throw plugError(error, `Cannot allocate ${size} for DIMM "${id}"`);
  }
  return {
    id,
    memdev,
    plug: async (added) => {
      try {
        await qmp.execute("device_add", {
          driver: "pc-dimm",
          id,
          memdev,
          ...(request.node === undefined ? {} : { node: request.node }),
          ...(request.address === undefined ? {} : { addr: request.address }),
        });
      } catch (error) {
        throw plugError(error, `Cannot plug DIMM "${id}" of ${size}`);
      }
      added(id);
    },
    free: async () => {
      try {
        await qmp.execute("object-del", { id: memdev });
      } catch (error) {
        throw plugError(error, `Backend "${memdev}" is left behind`);
      }
    },
  };
}

/** Adds a DIMM. @throws {PlugError} with QEMU's words, after the backend has been taken away again. */
export async function plugDimm(qmp: QmpSession, request: DimmRequest): Promise<PluggedDimm> {
  const dimm = await allocateDimm(qmp, request);
  const { id, memdev } = dimm;
  try {
    await dimm.plug(() => undefined);
  } catch (error) {
    if (qmp.isOpen) await takeBack(dimm, error);
    throw error;
  }
  const address = await queryDeviceAddress(qmp, id);
  if (address === undefined) {
    throw new PlugError(`QEMU plugged DIMM "${id}" but does not list it: look at query-memory-devices`);
  }
  return { id, memdev, address, size: request.size };
}

/**
 * Adds a CPU to the first free slot, in the order of sockets, dies, cores, threads.
 *
 * @param added called with the device's id as soon as it is there.
 * @throws {PlugError} with QEMU's words, or where no slot is free; nothing changed then.
 */
export async function plugCpu(
  qmp: QmpSession,
  added: (id: string) => void = () => undefined,
): Promise<string> {
  let slots: readonly HotpluggableCpu[];
  try {
    slots = parseHotpluggableCpus(await qmp.execute("query-hotpluggable-cpus"));
  } catch (error) {
    throw plugError(error, "Cannot plug a CPU");
  }
  const slot = slots.filter(({ present }) => !present).sort(byTopology)[0];
  if (slot?.type === undefined)
    throw new PlugError(
      `Cannot plug a CPU: all ${slots.length} slots of the guest are taken; start QEMU with a larger maxcpus`,
    );
  const id = await freeCpuId(qmp);
  try {
    await qmp.execute("device_add", { driver: slot.type, id, ...slot.props });
  } catch (error) {
    throw plugError(error, `Cannot plug CPU "${id}"`);
  }
  added(id);
  return id;
}

const TOPOLOGY = ["socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id"] as const;

function byTopology(a: HotpluggableCpu, b: HotpluggableCpu): number {
  for (const level of TOPOLOGY) {
    const difference = (a.props[level] ?? 0) - (b.props[level] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

async function freeCpuId(qmp: QmpSession): Promise<string> {
  const taken = await namesIn(qmp, "/machine/peripheral");
  return firstFree("kdh-cpu", (id) => taken.has(id));
}

function plugError(error: unknown, what: string): Error {
  if (!(error instanceof QmpCommandError)) return error instanceof Error ? error : new Error(String(error));
  return new PlugError(`${what}: QEMU says "${error.desc}"`, { cause: error });
}

async function takeBack(dimm: AllocatedDimm, failure: unknown): Promise<void> {
  try {
    await dimm.free();
  } catch (error) {
    const words = [failure, error].map((each) => (each instanceof Error ? each.message : String(each)));
    throw new PlugError(words.join("; "), { cause: failure });
  }
}

async function freeId(qmp: QmpSession): Promise<string> {
  const taken = new Set([
    ...(await namesIn(qmp, "/machine/peripheral")),
    ...(await namesIn(qmp, "/objects")),
  ]);
  return firstFree(ID_PREFIX, (id) => taken.has(id) || taken.has(backendOf(id)));
}

async function namesIn(qmp: QmpSession, path: string): Promise<ReadonlySet<string>> {
  return new Set((await qomList(qmp, path)).map(({ name }) => name));
}

function firstFree(prefix: string, isTaken: (id: string) => boolean): string {
  let number = 0;
  while (isTaken(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}
