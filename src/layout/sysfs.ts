/** /sys/devices/system/memory and /sys/devices/system/cpu as values, read through an injected tree. */
import { LayoutError } from "./error.ts";
import { ADDRESS_END, type PhysicalRange } from "./range.ts";

/** A read-only file tree: sysfs, or a copy of one. Paths are absolute (`/sys/...`). */
export interface ReadTree {
  /** A file's text, or undefined where there is no such file, or it may not be read. */
  readText(path: string): Promise<string | undefined>;
  /** Names in a directory, in any order; none where there is no such directory. */
  list(path: string): Promise<readonly string[]>;
}

/** `memoryN/state`. */
export type MemoryBlockState = "online" | "offline" | "going-offline";

/** One memory block (drivers/base/memory.c). */
export interface MemoryBlock {
  readonly index: number;
  readonly range: PhysicalRange;
  /** Undefined where it was not asked for. */
  readonly state: MemoryBlockState | undefined;
}

/** What /sys/devices/system/memory says. */
export interface MemoryBlocks {
  /** Bytes of each block. */
  readonly blockSize: bigint;
  /** By address, ascending. */
  readonly blocks: readonly MemoryBlock[];
  /** `offline`, `online`, `online_kernel`, `online_movable`; undefined where the kernel has no such file. */
  readonly autoOnlineBlocks: string | undefined;
  /**
   * Whether the kernel says that it keeps the core header true itself. It also says no where nothing is loaded,
   * and while the kexec lock is held. undefined before 6.6, or without CONFIG_CRASH_HOTPLUG.
   */
  readonly crashHotplug: boolean | undefined;
}

/** Where a note is, or will be: a CPU's registers, VMCOREINFO. */
export interface CrashNotes {
  /** Physical address. */
  readonly address: bigint;
  /** Bytes; 368 on x86-64. */
  readonly size: bigint;
}

/** What /sys/devices/system/cpu says. CPU numbers ascend. */
export interface Cpus {
  readonly possible: readonly number[];
  readonly present: readonly number[];
  readonly online: readonly number[];
  /** By CPU number, for each present CPU whose files can be read (which only root may). */
  readonly crashNotes: ReadonlyMap<number, CrashNotes>;
  /** As {@link MemoryBlocks.crashHotplug}, for CPUs. */
  readonly crashHotplug: boolean | undefined;
}

const ACTION = "read the layout";
const MEMORY = "/sys/devices/system/memory";
const CPU = "/sys/devices/system/cpu";
/** More CPU numbers than any kernel has (CONFIG_NR_CPUS is 8192 at most on x86-64): a forged list ends here. */
const MAX_CPU = 65_535;
/** Files read at once: many blocks must not need as many descriptors. */
const BATCH = 64;

/**
 * Parses a CPU list such as `0-3,5` (the kernel's `%*pbl`); an empty list is no CPU.
 *
 * @param where - what the text is, for the error.
 * @returns CPU numbers, ascending, each once.
 * @throws {LayoutError} where the text is not such a list, or names CPUs above 65535.
 */
export function parseCpuList(text: string, where = "CPU list"): readonly number[] {
  const trimmed = text.trim();
  const cpus = new Set<number>();
  for (const part of trimmed === "" ? [] : trimmed.split(",")) {
    const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part);
    const first = Number(match?.[1] ?? Number.NaN);
    const last = Number(match?.[2] ?? first);
    // The comparison also fails for NaN, where there was no match.
    if (!(first <= last && last <= MAX_CPU)) {
      throw new LayoutError(
        ACTION,
        where,
        `has ${JSON.stringify(part.slice(0, 40))}, expected "first-last" or a number, at most ${MAX_CPU}`,
      );
    }
    for (let cpu = first; cpu <= last; cpu++) {
      cpus.add(cpu);
    }
  }
  return [...cpus].sort((a, b) => a - b);
}

/**
 * Reads the memory blocks. A block that goes away meanwhile is left out.
 *
 * @param states whether each block's own file is read: with thousands of blocks that is nearly all of the time.
 * @throws {LayoutError} naming the file, where it is missing (no memory hot-plug in this kernel) or makes no sense.
 */
export async function readMemoryBlocks(
  tree: ReadTree,
  { states = true }: { readonly states?: boolean } = {},
): Promise<MemoryBlocks> {
  const blockSize = parseNumber(
    await required(tree, `${MEMORY}/block_size_bytes`),
    16,
    `${MEMORY}/block_size_bytes`,
  );
  if (blockSize === 0n) {
    throw new LayoutError(ACTION, `${MEMORY}/block_size_bytes`, "is 0, expected the size of a memory block");
  }
  const indexes = (await tree.list(MEMORY))
    .map((name) => /^memory(\d{1,15})$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
  const blocks = states
    ? await inBatches(indexes, (index) => readBlock(tree, index, blockSize))
    : indexes.map((index) => ({ index, range: rangeOf(index, blockSize), state: undefined }));
  return {
    blockSize,
    blocks: blocks.filter((block) => block !== undefined),
    autoOnlineBlocks: (await tree.readText(`${MEMORY}/auto_online_blocks`))?.trim(),
    crashHotplug: await readFlag(tree, `${MEMORY}/crash_hotplug`),
  };
}

/**
 * Reads the CPUs and where their notes are.
 *
 * @throws {LayoutError} naming the file, where a list is missing or a file makes no sense.
 */
export async function readCpus(tree: ReadTree): Promise<Cpus> {
  const possible = await readCpuList(tree, `${CPU}/possible`);
  const present = await readCpuList(tree, `${CPU}/present`);
  const online = await readCpuList(tree, `${CPU}/online`);
  const crashNotes = new Map<number, CrashNotes>();
  const notes = await inBatches(present, async (cpu) => ({ cpu, notes: await readCrashNotes(tree, cpu) }));
  for (const { cpu, notes: found } of notes) {
    if (found !== undefined) {
      crashNotes.set(cpu, found);
    }
  }
  return {
    possible,
    present,
    online,
    crashNotes,
    crashHotplug: await readFlag(tree, `${CPU}/crash_hotplug`),
  };
}

/**
 * Reads where the VMCOREINFO note is: `/sys/kernel/vmcoreinfo` has address and size in hex, `"%pa %x\n"` (kernel/ksysfs.c):
 * the address with 0x and leading zeros.
 *
 * @returns undefined where there is no such file, or it may not be read.
 * @throws {LayoutError} where it makes no sense.
 */
export async function readVmcoreinfoNote(tree: ReadTree): Promise<CrashNotes | undefined> {
  const path = "/sys/kernel/vmcoreinfo";
  const text = await tree.readText(path);
  if (text === undefined) return undefined;
  const [address = "", size = "", ...rest] = text.trim().split(" ");
  if (rest.length > 0)
    throw new LayoutError(
      ACTION,
      path,
      `is ${JSON.stringify(text.slice(0, 40))}, expected address and size in hex`,
    );
  return {
    address: parseNumber(address.replace(/^0x/, ""), 16, path),
    size: parseNumber(size, 16, path),
  };
}

async function readBlock(tree: ReadTree, index: number, blockSize: bigint): Promise<MemoryBlock | undefined> {
  const path = `${MEMORY}/memory${index}/state`;
  const text = await tree.readText(path);
  if (text === undefined) {
    return undefined;
  }
  const state = text.trim();
  if (state !== "online" && state !== "offline" && state !== "going-offline") {
    throw new LayoutError(
      ACTION,
      path,
      `is ${JSON.stringify(state.slice(0, 40))}, expected online, offline or going-offline`,
    );
  }
  return { index, range: rangeOf(index, blockSize), state };
}

function rangeOf(index: number, blockSize: bigint): PhysicalRange {
  const start = BigInt(index) * blockSize;
  const end = start + blockSize;
  if (end > ADDRESS_END) {
    const path = `${MEMORY}/memory${index}/state`;
    throw new LayoutError(ACTION, path, `belongs to a block that ends at 0x${end.toString(16)}, beyond 2^64`);
  }
  return { start, end };
}

async function readCrashNotes(tree: ReadTree, cpu: number): Promise<CrashNotes | undefined> {
  const path = `${CPU}/cpu${cpu}/crash_notes`;
  const address = await tree.readText(path);
  const size = await tree.readText(`${path}_size`);
  if (address === undefined || size === undefined) {
    return undefined;
  }
  return { address: parseNumber(address, 16, path), size: parseNumber(size, 10, `${path}_size`) };
}

async function readCpuList(tree: ReadTree, path: string): Promise<readonly number[]> {
  return parseCpuList(await required(tree, path), path);
}

async function readFlag(tree: ReadTree, path: string): Promise<boolean | undefined> {
  const text = (await tree.readText(path))?.trim();
  if (text !== undefined && text !== "0" && text !== "1") {
    throw new LayoutError(ACTION, path, `is ${JSON.stringify(text.slice(0, 40))}, expected 0 or 1`);
  }
  return text === undefined ? undefined : text === "1";
}

async function required(tree: ReadTree, path: string): Promise<string> {
  const text = await tree.readText(path);
  if (text === undefined) {
    throw new LayoutError(ACTION, path, "is missing or cannot be read");
  }
  return text;
}

/** sysfs writes addresses in hex without 0x, and sizes in either base. */
function parseNumber(text: string, base: 10 | 16, path: string): bigint {
  const digits = text.trim();
  const pattern = base === 16 ? /^[0-9a-f]{1,16}$/i : /^[0-9]{1,19}$/;
  if (!pattern.test(digits)) {
    throw new LayoutError(
      ACTION,
      path,
      `is ${JSON.stringify(digits.slice(0, 40))}, expected a number in base ${base}`,
    );
  }
  return BigInt(base === 16 ? `0x${digits}` : digits);
}

async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += BATCH) {
    results.push(...(await Promise.all(items.slice(start, start + BATCH).map(work))));
  }
  return results;
}
