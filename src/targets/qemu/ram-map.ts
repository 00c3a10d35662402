/** Which memory blocks a guest's RAM consists of, and where each piece of them lies: from QMP alone. */
import type { PhysicalRange } from "../../layout/range.ts";
import { type FlatRange, parseFlatView } from "./flat-view.ts";
import { QmpCommandError, QmpReplyError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import {
  humanMonitor,
  qomList,
  qomSize,
  qomText,
  queryDeviceBackends,
  queryMemdevs,
  queryBaseMemory,
} from "./replies.ts";

/** A memory backend that the guest uses as RAM. */
export interface RamBlock {
  /** The backend's id. */
  readonly name: string;
  /** QOM type, such as `memory-backend-memfd`. */
  readonly type: string;
  readonly size: bigint;
  /** Whether others who map the same file see the guest's writes. */
  readonly shared: boolean;
  /** `mem-path` of a file backend: a file or a directory. */
  readonly memPath: string | undefined;
  /** Where in its file the block begins, bytes. */
  readonly fileOffset: bigint;
  /** True for a DIMM and the like, false for boot RAM. */
  readonly device: boolean;
}

/** A stretch of guest physical addresses that one block backs. */
export interface RamPiece extends PhysicalRange {
  readonly block: RamBlock;
  /** Where in the block it begins, bytes. */
  readonly offset: bigint;
}

/** The guest's RAM. `pieces` are ascending and disjoint. */
export interface RamMap {
  readonly blocks: readonly RamBlock[];
  readonly pieces: readonly RamPiece[];
}

/** Memory devices whose memory Linux takes as RAM. NVDIMMs, virtio-pmem and SGX memory are not. */
const RAM_DEVICES: ReadonlySet<string> = new Set(["dimm", "virtio-mem", "hv-balloon"]);

const nameOfPath = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
/** Machine types of QEMU 4.0 and older name blocks by their whole path. */
const nameOfRegion = (name: string): string => (name.startsWith("/objects/") ? nameOfPath(name) : name);

/**
 * Reads the guest's RAM map as it is now.
 *
 * A piece that is write-protected at the moment (PAM registers: option ROMs below 1 MiB) is not in it: it is
 * no RAM to anybody who writes.
 *
 * @param known the map from an earlier look at the same process: its boot RAM is not asked about again.
 * @throws {QmpReplyError} where the answers contradict each other.
 */
export async function readRamMap(qmp: QmpSession, known?: RamMap): Promise<RamMap> {
  // All of it is asked for at once: QEMU answers in this order, and what comes or goes has less time to do so.
  const [memdevs, objects, devices, tree, bootBackend] = await Promise.all([
    queryMemdevs(qmp),
    qomList(qmp, "/objects"),
    queryDeviceBackends(qmp),
    humanMonitor(qmp, "info mtree -f"),
    qomText(qmp, "/machine", "memory-backend"),
  ]);
  const types = new Map(objects.map((child) => [child.name, child.type]));
  const view = parseFlatView(tree);
  const taken = new Map<string, "ram" | "other">();
  for (const { type, memdev } of devices) {
    if (memdev !== undefined) taken.set(nameOfPath(memdev), RAM_DEVICES.has(type) ? "ram" : "other");
  }
  const backends = new Map(
    memdevs.flatMap((memdev) => (memdev.id === undefined ? [] : [[memdev.id, memdev] as const])),
  );
  const boot =
    bootBackend === ""
      ? await severalBootBackends(qmp, view, backends, taken)
      : new Set([nameOfPath(bootBackend)]);
  const knownBoot = new Map(known?.blocks.flatMap((block) => (block.device ? [] : [[block.name, block]])));

  const blocks = new Map<string, RamBlock>();
  for (const [name, backend] of backends) {
    const device = taken.get(name) === "ram";
    if (!device && !boot.has(name)) continue;
    // Boot RAM is what QEMU began with, for as long as it lives.
    const before = device ? undefined : knownBoot.get(name);
    if (before) {
      blocks.set(name, before);
      continue;
    }
    const type = (types.get(name) ?? "").replace(/^child<(.*)>$/, "$1");
    const isFile = type === "memory-backend-file";
    const path = `/objects/${name}`;
    blocks.set(name, {
      name,
      type,
      size: backend.size,
      shared: backend.share,
      memPath: isFile && backend.share ? await qomText(qmp, path, "mem-path") : undefined,
      fileOffset: isFile && backend.share ? await optionalOffset(qmp, path) : 0n,
      device,
    });
  }
  return { blocks: [...blocks.values()], pieces: piecesOf(view, blocks) };
}

/** `offset` of a file backend is there since QEMU 8.1; before, the block began where the file did. */
async function optionalOffset(qmp: QmpSession, path: string): Promise<bigint> {
  try {
    return await qomSize(qmp, path, "offset");
  } catch (error) {
    if (error instanceof QmpCommandError) return 0n;
    throw error;
  }
}

/**
 * Names of the backends that are boot RAM, where NUMA nodes have one each and the machine names none: those that lie in
 * the map, belong to no device and are no PCI BAR (priority 1, as ivshmem's) must add up to what QEMU says boot RAM is.
 */
async function severalBootBackends(
  qmp: QmpSession,
  view: readonly FlatRange[],
  backends: ReadonlyMap<string, { readonly size: bigint }>,
  taken: ReadonlyMap<string, "ram" | "other">,
): Promise<ReadonlySet<string>> {
  const candidates = new Set(
    view
      .filter((range) => range.kind === "ram" && range.priority === 0)
      .map((range) => nameOfRegion(range.name))
      .filter((name) => backends.has(name) && !taken.has(name)),
  );
  const baseMemory = await queryBaseMemory(qmp);
  const sum = [...candidates].reduce((total, name) => total + (backends.get(name)?.size ?? 0n), 0n);
  if (sum !== baseMemory) {
    throw new QmpReplyError(
      "info mtree -f",
      `memory backends of ${sum} bytes lie in the map where boot RAM is ${baseMemory} bytes`,
    );
  }
  return candidates;
}

function piecesOf(view: readonly FlatRange[], blocks: ReadonlyMap<string, RamBlock>): readonly RamPiece[] {
  const pieces: RamPiece[] = [];
  for (const range of view) {
    const block = blocks.get(nameOfRegion(range.name));
    if (block === undefined || range.kind !== "ram") continue;
    if (range.offset + (range.end - range.start) > block.size) {
      throw new QmpReplyError(
        "info mtree -f",
        `a range of "${block.name}" ends beyond its ${block.size} bytes`,
      );
    }
    pieces.push({ start: range.start, end: range.end, block, offset: range.offset });
  }
  return pieces;
}

/** Adjacent pieces become one range: whose RAM it is does not matter to a reader. */
export function rangesOf(pieces: readonly PhysicalRange[]): readonly PhysicalRange[] {
  const ranges: PhysicalRange[] = [];
  for (const { start, end } of pieces) {
    const last = ranges.at(-1);
    if (last !== undefined && last.end === start) ranges[ranges.length - 1] = { start: last.start, end };
    else ranges.push({ start, end });
  }
  return ranges;
}
