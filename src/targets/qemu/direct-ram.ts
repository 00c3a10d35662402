/**
 * Finds a way to a guest's RAM that needs no question to QEMU, with nothing but its QMP socket: the files behind it,
 * else QEMU's own memory.
 *
 * Best evidence: QEMU says where a block lies in its own address space (`info ramblock`), and the kernel says
 * which file is mapped there, shared and writable (/proc/PID/maps). That is exact for memfd, for unlinked
 * files and for twin DIMMs, and it gives QEMU no power over files that it cannot write already. Where /proc
 * cannot be read, `mem-path` is believed when non-zero pages in the file are those of the guest.
 *
 * Boot RAM that lies in no file that can be written (share=off, huge pages) is read and written where it lies in QEMU's
 * own address space, through /proc/PID/mem: see docs/decisions/0026.
 */
import { statfsSync } from "node:fs";
import { basename, join } from "node:path";

import { descriptorLinks, mappingsOf, parseRamBlocks } from "./qemu-process.ts";
import type { Mapping, QemuProcess, RamBlockAddress } from "./qemu-process.ts";
import { QmpError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { type RamBlock, type RamMap, type RamPiece, readRamMap } from "./ram-map.ts";
import { humanMonitor } from "./replies.ts";
import { type FileIdentity, RamFile } from "./ram-file.ts";
import { verifyBlock } from "./verify-block.ts";

/** A guest's RAM as far as it is reached directly. */
export interface DirectRam {
  /** By the block's name. */
  readonly blocks: ReadonlyMap<string, RamFile>;
  /** Blocks that are not reached, with the reason, one clause each. */
  readonly missing: ReadonlyMap<string, string>;
  close(): void;
}

/** statfs(2): hugetlbfs can be read and mapped, but write(2) there is EINVAL. */
const HUGETLBFS_MAGIC = 0x958458f6;

/** Where QEMU and the kernel say that a block lies. */
interface Placement {
  readonly process: QemuProcess;
  /** Its first byte in QEMU's address space. */
  readonly hostAddress: bigint;
  /** The file that is mapped there for others too. */
  readonly file: { readonly mapping: Mapping; readonly offset: bigint } | undefined;
}

/** A block whose file QEMU has mapped. */
type FilePlacement = Placement & { readonly file: NonNullable<Placement["file"]> };

/** What is known of a block's file from an earlier look. */
export interface KnownBlocks {
  readonly blocks: ReadonlyMap<string, RamFile>;
}

export interface DirectRamOptions {
  /** The RAM map, where it has been read already. */
  readonly map?: RamMap;
  /**
   * Blocks that are open already, of the same connection: kept, unverified, where the kernel still names the same file.
   * Boot RAM always is: QEMU has it for as long as it lives.
   */
  readonly known?: KnownBlocks;
  /** The processes that hold the QMP socket, where they have been looked for already. */
  readonly processes?: readonly QemuProcess[];
  /** Where procfs is mounted. */
  readonly proc?: string;
}

/** Opens a guest's RAM and proves that it is its RAM; tells for each block that is not reached why. */
export async function lookForDirectRam(qmp: QmpSession, options: DirectRamOptions = {}): Promise<DirectRam> {
  const map = options.map ?? (await readRamMap(qmp));
  const blocks = new Map<string, RamFile>();
  const missing = new Map<string, string>();
  try {
    const placements = await placementsOf(qmp, toBePlaced(map.blocks, options.known), options);
    for (const block of map.blocks) {
      const placement = placements.get(block.name);
      const known = options.known?.blocks.get(block.name);
      const opened =
        known !== undefined && (!block.device || (placement !== undefined && isAt(known, placement)))
          ? known
          : await openBlock(qmp, map, block, placement, options.proc ?? "/proc");
      if (typeof opened === "string") missing.set(block.name, opened);
      else blocks.set(block.name, opened);
    }
  } catch (error) {
    for (const [name, block] of blocks) if (options.known?.blocks.get(name) !== block) block.close();
    throw error;
  }
  return directRam(blocks, missing);
}

/** By itself: a closure keeps all that its function's other closures use, and `known` leads to every look before. */
function directRam(blocks: DirectRam["blocks"], missing: DirectRam["missing"]): DirectRam {
  return {
    blocks,
    missing,
    close: () => {
      for (const block of blocks.values()) block.close();
    },
  };
}

/** Blocks of which it matters where they lie: boot RAM that is open stays so, and a private device is not reached. */
function toBePlaced(blocks: readonly RamBlock[], known: KnownBlocks | undefined): readonly RamBlock[] {
  return blocks.filter((block) => (block.device ? block.shared : !known?.blocks.has(block.name)));
}

/** Whether what is open is still what QEMU has there. Its process is the same one while the connection lasts. */
function isAt(known: RamFile, { hostAddress, file }: Placement): boolean {
  return known.isProcess ? known.fileOffset === hostAddress : file?.mapping.inode === known.inode;
}

/** For each block the place of its first byte in the process behind the socket. */
async function placementsOf(
  qmp: QmpSession,
  blocks: readonly RamBlock[],
  options: DirectRamOptions,
): Promise<ReadonlyMap<string, Placement>> {
  const placements = new Map<string, Placement>();
  if (blocks.length === 0) return placements;
  const addresses = parseRamBlocks(await humanMonitor(qmp, "info ramblock"));
  if (addresses.length === 0) return placements;
  const processes = options.processes ?? (await qmp.qemuProcesses(options.proc));
  for (const process of processes) {
    const mappings = await mappingsOf(process.pid, options.proc);
    for (const block of blocks) {
      const placement = place(block, addresses, mappings, process);
      if (placement !== undefined && !placements.has(block.name)) placements.set(block.name, placement);
    }
  }
  return placements;
}

/** Undefined where QEMU does not say where the block lies, or the process has no memory there that it can write. */
function place(
  block: RamBlock,
  addresses: readonly RamBlockAddress[],
  mappings: readonly Mapping[],
  process: QemuProcess,
): Placement | undefined {
  const candidates = addresses.filter(
    (each) => each.name === block.name || each.name === `/objects/${block.name}`,
  );
  const [address] = candidates;
  if (address === undefined || candidates.length !== 1 || address.used !== block.size) return undefined;
  const { hostAddress } = address;
  // Adjacent mappings are one to whoever reads; the kernel lists them in ascending order.
  let covered = hostAddress;
  for (const { start, end, permissions } of mappings)
    if (start <= covered && covered < end && permissions.startsWith("rw")) covered = end;
  if (covered < hostAddress + block.size) return undefined;
  const mapping = mappings.find((each) => each.start <= hostAddress && hostAddress < each.end);
  const file =
    mapping === undefined || mapping.inode === 0n || !mapping.permissions.endsWith("s")
      ? undefined
      : { mapping, offset: mapping.offset + (hostAddress - mapping.start) };
  return { process, hostAddress, file };
}

/** Opens and verifies one block by the best way there is. @returns it, or why there is none. */
async function openBlock(
  qmp: QmpSession,
  map: RamMap,
  block: RamBlock,
  placement: Placement | undefined,
  proc: string,
): Promise<RamFile | string> {
  const { file } = placement ?? {};
  const shared = block.shared
    ? await openFile(qmp, map, block, placement && file && { ...placement, file }, proc)
    : "its memory backend has share=off";
  // The image lies in boot RAM; what devices bring comes and goes, and an address in QEMU with it.
  if (typeof shared !== "string" || block.device) return shared;
  if (placement === undefined) return shared;
  const own = await openInProcess(qmp, map, block, placement, proc);
  return typeof own === "string" ? `${shared}, and ${own}` : own;
}

/** Opens and verifies a block in QEMU's own memory. @returns it, or why that cannot be. */
async function openInProcess(
  qmp: QmpSession,
  map: RamMap,
  block: RamBlock,
  { process, hostAddress }: Placement,
  proc: string,
): Promise<RamFile | string> {
  const path = join(proc, String(process.pid), "mem");
  let memory: RamFile;
  try {
    memory = RamFile.openProcess(path, hostAddress, block.size);
  } catch (error) {
    return `QEMU's own memory cannot be opened (${error instanceof Error ? error.message : String(error)})`;
  }
  try {
    const doubt = await verifyBlock(qmp, piecesOf(map, block), memory, true);
    if (doubt === undefined) return memory;
    memory.close();
    return `QEMU's own memory at 0x${hostAddress.toString(16)} ${doubt}`;
  } catch (error) {
    memory.close();
    // QEMU's own refusals and the connection's end are told by the next question to it.
    if (error instanceof QmpError) throw error;
    return `QEMU's own memory cannot be read (${error instanceof Error ? error.message : String(error)})`;
  }
}

const piecesOf = (map: RamMap, block: RamBlock): readonly RamPiece[] =>
  map.pieces.filter((piece) => piece.block.name === block.name);

/** Opens and verifies one block's file. @returns the open file, or why there is none. */
async function openFile(
  qmp: QmpSession,
  map: RamMap,
  block: RamBlock,
  placement: FilePlacement | undefined,
  proc: string,
): Promise<RamFile | string> {
  const fileOffset = placement?.file.offset ?? block.fileOffset;
  const paths = placement === undefined ? [] : await descriptorsFor(placement, proc);
  if (block.memPath !== undefined) paths.push(block.memPath);
  if (paths.length === 0) {
    return placement === undefined
      ? `the ${block.type} has no path and QEMU's /proc entry cannot be read; run as root or as QEMU's user`
      : `QEMU has no descriptor of "${placement.file.mapping.path}" open`;
  }
  let reason = "";
  for (const path of paths) {
    let file: RamFile;
    try {
      if (statfsSync(path).type === HUGETLBFS_MAGIC) {
        reason = `"${path}" lies in huge pages, which write(2) cannot change`;
        continue;
      }
      file = RamFile.open(path, fileOffset);
    } catch (error) {
      reason = `"${path}" cannot be opened (${error instanceof Error ? error.message : String(error)})`;
      continue;
    }
    const doubt = await doubtAbout(qmp, map, block, file, placement, fileOffset).catch((error: unknown) => {
      file.close();
      throw error;
    });
    if (doubt === undefined) return file;
    file.close();
    reason = `"${path}" ${doubt}`;
  }
  return reason;
}

/** Links of /proc/PID/fd that may lead to the mapped file: those that read as the mapping's path does. */
async function descriptorsFor({ process, file }: FilePlacement, proc: string): Promise<string[]> {
  const links = await descriptorLinks(process.pid, proc);
  return links.filter((link) => link.target === file.mapping.path).map((link) => link.path);
}

/** Why an open file may not be this block; `undefined` where it is. */
async function doubtAbout(
  qmp: QmpSession,
  map: RamMap,
  block: RamBlock,
  file: FileIdentity & RamFile,
  placement: FilePlacement | undefined,
  fileOffset: bigint,
): Promise<string | undefined> {
  if (placement !== undefined && placement.file.mapping.inode !== file.inode) {
    return `is another file than QEMU has mapped ("${basename(placement.file.mapping.path)}")`;
  }
  if (file.fileSize < fileOffset + block.size)
    return `has ${file.fileSize} bytes and the block ${block.size}`;
  return await verifyBlock(qmp, piecesOf(map, block), file, placement !== undefined);
}
