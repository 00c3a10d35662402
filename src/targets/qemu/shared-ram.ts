/**
 * Finds the files behind a guest's RAM, with nothing but its QMP socket.
 *
 * Best evidence: QEMU says where a block lies in its own address space (`info ramblock`), and the kernel says
 * which file is mapped there, shared and writable (/proc/PID/maps). That is exact for memfd, for unlinked
 * files and for twin DIMMs, and it gives QEMU no power over files that it cannot write already. Where /proc
 * cannot be read, `mem-path` is believed when non-zero pages in the file are those of the guest.
 */
import { statfsSync } from "node:fs";
import { basename } from "node:path";

import { findQemuProcesses, descriptorLinks, mappingsOf, parseRamBlocks } from "./qemu-process.ts";
import type { Mapping, QemuProcess, RamBlockAddress } from "./qemu-process.ts";
import type { QmpClient } from "./qmp.ts";
import { type RamBlock, type RamMap, readRamMap } from "./ram-map.ts";
import { humanMonitor } from "./replies.ts";
import { type FileIdentity, SharedBlock } from "./shared-block.ts";
import { verifyBlock } from "./verify-block.ts";

/** A guest's RAM as far as it lies in shared files. */
export interface SharedRam {
  /** By the block's name. */
  readonly blocks: ReadonlyMap<string, SharedBlock>;
  /** Blocks that are not reached, with the reason, one clause each. */
  readonly missing: ReadonlyMap<string, string>;
  close(): void;
}

/** statfs(2): hugetlbfs can be read and mapped, but write(2) there is EINVAL. */
const HUGETLBFS_MAGIC = 0x958458f6;

/** Where the kernel says that a block lies. */
interface Placement {
  readonly process: QemuProcess;
  readonly mapping: Mapping;
  readonly fileOffset: bigint;
}

/** What is known of a block's file from an earlier look. */
export interface KnownBlocks {
  readonly blocks: ReadonlyMap<string, SharedBlock>;
}

export interface SharedRamOptions {
  /** The RAM map, where it has been read already. */
  readonly map?: RamMap;
  /** Blocks that are open already: kept, unverified, where the kernel still names the same file. */
  readonly known?: KnownBlocks;
  /** The processes that hold the QMP socket, where they have been looked for already. */
  readonly processes?: readonly QemuProcess[];
  /** Where procfs is mounted. */
  readonly proc?: string;
}

/** Opens the shared files of a guest's RAM and proves that they are its RAM; tells for each block that is not reached why. */
export async function lookForSharedRam(qmp: QmpClient, options: SharedRamOptions = {}): Promise<SharedRam> {
  const map = options.map ?? (await readRamMap(qmp));
  const proc = options.proc ?? "/proc";
  const blocks = new Map<string, SharedBlock>();
  const missing = new Map<string, string>();
  const wanted = map.blocks.filter((block) => {
    if (!block.shared) missing.set(block.name, "its memory backend has share=off");
    return block.shared;
  });
  try {
    const placements =
      wanted.length === 0 ? new Map<string, Placement>() : await placementsOf(qmp, wanted, options);
    for (const block of wanted) {
      const placement = placements.get(block.name);
      const known = options.known?.blocks.get(block.name);
      if (known !== undefined && placement !== undefined && placement.mapping.inode === known.inode) {
        blocks.set(block.name, known);
        continue;
      }
      const result = await openBlock(qmp, map, block, placement, proc);
      if (typeof result === "string") missing.set(block.name, result);
      else blocks.set(block.name, result);
    }
  } catch (error) {
    for (const [name, block] of blocks) if (options.known?.blocks.get(name) !== block) block.close();
    throw error;
  }
  return {
    blocks,
    missing,
    close: () => {
      for (const block of blocks.values()) block.close();
    },
  };
}

/** For each block the shared mapping that holds its first byte in the process behind the socket. */
async function placementsOf(
  qmp: QmpClient,
  blocks: readonly RamBlock[],
  options: SharedRamOptions,
): Promise<ReadonlyMap<string, Placement>> {
  const placements = new Map<string, Placement>();
  const addresses = parseRamBlocks(await humanMonitor(qmp, "info ramblock"));
  if (addresses.length === 0) return placements;
  const processes = options.processes ?? (await findQemuProcesses(qmp.path, options.proc));
  for (const process of processes) {
    const mappings = await mappingsOf(process.pid, options.proc);
    for (const block of blocks) {
      const placement = place(block, addresses, mappings, process);
      if (placement !== undefined && !placements.has(block.name)) placements.set(block.name, placement);
    }
  }
  return placements;
}

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
  const at = address.hostAddress;
  const mapping = mappings.find((each) => each.start <= at && at < each.end);
  if (mapping === undefined || !mapping.permissions.startsWith("rw") || !mapping.permissions.endsWith("s")) {
    return undefined;
  }
  return { process, mapping, fileOffset: mapping.offset + (at - mapping.start) };
}

/** Opens and verifies one block's file. @returns the open file, or why there is none. */
async function openBlock(
  qmp: QmpClient,
  map: RamMap,
  block: RamBlock,
  placement: Placement | undefined,
  proc: string,
): Promise<SharedBlock | string> {
  const fileOffset = placement?.fileOffset ?? block.fileOffset;
  const paths = placement === undefined ? [] : await descriptorsFor(placement, proc);
  if (block.memPath !== undefined) paths.push(block.memPath);
  if (paths.length === 0) {
    return placement === undefined
      ? `the ${block.type} has no path and QEMU's /proc entry cannot be read; run as root or as QEMU's user`
      : `QEMU has no descriptor of "${placement.mapping.path}" open`;
  }
  let reason = "";
  for (const path of paths) {
    let file: SharedBlock;
    try {
      if (statfsSync(path).type === HUGETLBFS_MAGIC) {
        reason = `"${path}" lies in huge pages, which write(2) cannot change`;
        continue;
      }
      file = SharedBlock.open(path, fileOffset);
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
async function descriptorsFor(placement: Placement, proc: string): Promise<string[]> {
  const links = await descriptorLinks(placement.process.pid, proc);
  return links.filter((link) => link.target === placement.mapping.path).map((link) => link.path);
}

/** Why an open file may not be this block; `undefined` where it is. */
async function doubtAbout(
  qmp: QmpClient,
  map: RamMap,
  block: RamBlock,
  file: FileIdentity & SharedBlock,
  placement: Placement | undefined,
  fileOffset: bigint,
): Promise<string | undefined> {
  if (placement !== undefined && placement.mapping.inode !== file.inode) {
    return `is another file than QEMU has mapped ("${basename(placement.mapping.path)}")`;
  }
  if (file.fileSize < fileOffset + block.size)
    return `has ${file.fileSize} bytes and the block ${block.size}`;
  const pieces = map.pieces.filter((piece) => piece.block.name === block.name);
  return await verifyBlock(qmp, pieces, file, placement !== undefined);
}
