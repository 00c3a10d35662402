/** A guest's physical memory, by the cheapest way that each block of it offers. */
import { MemoryAccessError, type PhysicalMemory } from "../../image/memory.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { finishing } from "./finishing.ts";
import { GdbDoor, type GdbOptions } from "./gdb-memory.ts";
import { examine, EXAMINE_LIMIT, pmemsave } from "./pmemsave.ts";
import { KeeperLock } from "./keeper-lock.ts";
import type { QemuProcess } from "./qemu-process.ts";
import { QmpError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { type RamMap, type RamPiece, rangesOf, readRamMap } from "./ram-map.ts";
import type { RunState } from "./replies.ts";
import { lookForDirectRam, type DirectRam } from "./direct-ram.ts";

/** How boot RAM is reached. */
export type GuestMemoryAccess = "shared-file" | "process-memory" | "gdbstub";

export interface GuestMemoryOptions {
  /** Where private directories for QEMU's files and sockets are made. */
  readonly tmpDir?: string | undefined;
  /** `shared`: fail where boot RAM has no shared file; `gdb`: only through QEMU; `auto`: the cheapest there is. */
  readonly access?: "auto" | "shared" | "gdb" | undefined;
}

/** The wanted way to guest memory does not exist. */
export class GuestMemoryError extends QmpError {
  override readonly name = "GuestMemoryError";
}

/** Largest read through an attached gdbstub; more is cheaper through a file. */
const GDB_READ_LIMIT = 64 * 1024;
/** A span that is not in the map is looked up anew, but a flood of such spans is not. */
const REFRESH_PAUSE_MS = 100;
/** How long reads may keep the event loop to themselves. */
const TURN_MS = 5;
/** Events after which the map may be another one: only that of devices (memory taken away), or all (PAM registers reset). */
const STALE_AFTER: ReadonlyMap<string, "devices" | "all"> = new Map([
  ["DEVICE_DELETED", "devices"],
  ["RESET", "all"],
]);

const NOTHING_DIRECT: DirectRam = {
  blocks: new Map(),
  missing: new Map(),
  close: () => {},
};

/** A stretch of guest physical addresses, and where in which file (a shared one, or QEMU's memory) it lies. */
export interface DirectPiece extends PhysicalRange {
  readonly path: string;
  readonly offset: bigint;
}

/** One contiguous part of a span, in one piece of RAM. */
interface Part {
  readonly piece: RamPiece;
  readonly address: bigint;
  readonly from: number;
  readonly to: number;
}

/** Opens a guest's memory. @throws {GuestMemoryError} where `access` is `shared` and boot RAM is not. */
export async function openGuestMemory(
  qmp: QmpSession,
  options: GuestMemoryOptions = {},
): Promise<GuestMemory> {
  return await GuestMemory.open(qmp, options);
}

/**
 * The port's side for a QEMU guest.
 *
 * Reads of memory that is reached only by asking QEMU do not stop the guest (`xp`, `pmemsave`); writes to it do, for
 * about a millisecond, and leave a paused guest paused (see gdb-memory.ts).
 */
export class GuestMemory implements PhysicalMemory {
  /** Taken by whoever pauses the guest to write. */
  readonly lock: KeeperLock;
  readonly #qmp: QmpSession;
  readonly #options: GuestMemoryOptions;
  /** Fixed while the connection lasts: it leads to one process. */
  readonly #processes: readonly QemuProcess[];
  readonly #forgetEvents: () => void;
  #map: RamMap = { blocks: [], pieces: [] };
  #direct: DirectRam = NOTHING_DIRECT;
  #stale: "nothing" | "devices" | "all" = "nothing";
  #refreshedAt = 0;
  #turnedAt = 0;
  #door: GdbDoor | undefined;
  #beforeWrite: (() => Promise<void>) | undefined;
  /** Gdb sessions come one after the other: QEMU has one stub. */
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(qmp: QmpSession, options: GuestMemoryOptions, processes: readonly QemuProcess[]) {
    this.#qmp = qmp;
    this.#options = options;
    this.#processes = processes;
    this.lock = new KeeperLock(processes);
    this.#forgetEvents = qmp.onEvent(({ event }) => {
      const stale = STALE_AFTER.get(event);
      if (stale !== undefined && this.#stale !== "all") this.#stale = stale;
    });
  }

  /** See `openGuestMemory`. */
  static async open(qmp: QmpSession, options: GuestMemoryOptions = {}): Promise<GuestMemory> {
    const memory = new GuestMemory(qmp, options, await qmp.qemuProcesses());
    try {
      await memory.refresh();
      if (options.access === "shared" && memory.access !== "shared-file") {
        throw new GuestMemoryError(
          `Guest's RAM is in no shared file that we can use (${memory.whyNotDirect}): ` +
            `start QEMU with a memory-backend-memfd or memory-backend-file that has share=on, or allow the gdbstub`,
        );
      }
      return memory;
    } catch (error) {
      await memory.close();
      throw error;
    }
  }

  /** How boot RAM is reached. Hot-added memory may be reached in another way. */
  get access(): GuestMemoryAccess {
    const boot = this.#map.blocks.filter((block) => !block.device);
    const files = boot.map(({ name }) => this.#direct.blocks.get(name));
    if (files.length === 0 || files.includes(undefined)) return "gdbstub";
    return files.some((file) => file?.isProcess) ? "process-memory" : "shared-file";
  }

  get isSlow(): boolean {
    return this.access === "gdbstub";
  }

  /** Why blocks are reached only by asking QEMU; empty where none is. */
  get whyNotDirect(): string {
    return [...this.#direct.missing].map(([name, reason]) => `${name}: ${reason}`).join("; ");
  }

  /** RAM blocks and where they lie, as of the last `refresh`. */
  get map(): RamMap {
    return this.#map;
  }

  /** Stretches of RAM that lie in files, for those who poll them themselves: what `read` does costs more. */
  get directPieces(): readonly DirectPiece[] {
    return this.#map.pieces.flatMap(({ start, end, offset, block }) => {
      const file = this.#direct.blocks.get(block.name);
      return file ? [{ start, end, path: file.path, offset: file.fileOffset + offset }] : [];
    });
  }

  /** Reads the guest's memory map anew, and opens the files of blocks that are new. */
  async refresh(): Promise<void> {
    this.#stale = "nothing";
    const map = await readRamMap(this.#qmp, this.#map);
    const before = this.#direct;
    if (this.#options.access !== "gdb") {
      this.#direct = await lookForDirectRam(this.#qmp, { map, known: before, processes: this.#processes });
      for (const [name, block] of before.blocks) if (this.#direct.blocks.get(name) !== block) block.close();
    }
    this.#map = map;
    this.#refreshedAt = performance.now();
  }

  /** RAM that exists now: asks QEMU each time. */
  async ranges(): Promise<readonly PhysicalRange[]> {
    await this.refresh();
    return rangesOf(this.#map.pieces);
  }

  /** Boot RAM, which stays as it is from one reset to the next: QEMU is asked again only after one. */
  async bootRanges(): Promise<readonly PhysicalRange[]> {
    if (this.#stale === "all") await this.refresh();
    return rangesOf(this.#map.pieces.filter(({ block }) => !block.device));
  }

  /** @throws {MemoryAccessError} where any byte of the span is not RAM. */
  async read(address: bigint, length: number, room?: Uint8Array): Promise<Uint8Array> {
    const parts = await this.#partsOf("read", address, length);
    await this.#takeTurns();
    // Every byte is filled below: zeroing first would cost as much as reading. No Buffer: its slice() is no copy.
    const bytes = room?.subarray(0, length) ?? new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
    for (const part of parts) {
      const into = bytes.subarray(part.from, part.to);
      const file = this.#direct.blocks.get(part.piece.block.name);
      if (file !== undefined) file.read(part.piece.offset + (part.address - part.piece.start), into);
      else await this.#readThroughQemu(part.address, into);
    }
    return bytes;
  }

  /** @throws {MemoryAccessError} where any byte of the span is not RAM; then nothing was written. */
  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    const parts = await this.#partsOf("write", address, bytes.length);
    await this.#beforeWrite?.();
    for (const part of parts) {
      const data = bytes.subarray(part.from, part.to);
      const file = this.#direct.blocks.get(part.piece.block.name);
      if (file !== undefined) file.write(part.piece.offset + (part.address - part.piece.start), data);
      else await this.#writeThroughGdb(part.address, data);
    }
  }

  /** Runs `fn`, and `check` before each write in it: what that throws keeps the write from happening. */
  async guarded<T>(check: () => Promise<void>, fn: () => Promise<T>): Promise<T> {
    this.#beforeWrite = check;
    try {
      return await fn();
    } finally {
      this.#beforeWrite = undefined;
    }
  }

  /**
   * Runs `fn` with the gdbstub ready, where some memory needs it: its opening is then no part of a pause in `fn`.
   * Who pauses in there calls `attach` first and `hangUp` last.
   */
  async withWritesReady<T>(fn: () => Promise<T>): Promise<T> {
    // The image lies in boot RAM; hot-added memory that is private to QEMU needs no door for it.
    const needed = this.#map.blocks.some((block) => !block.device && !this.#direct.blocks.has(block.name));
    return needed ? await this.#withDoor(async () => await fn()) : await fn();
  }

  async #withDoor<T>(fn: (door: GdbDoor) => Promise<T>): Promise<T> {
    if (this.#door !== undefined) return await fn(this.#door);
    await using _ = await this.lock.take();
    const door = await GdbDoor.open(this.#qmp, this.#places);
    this.#door = door;
    return await finishing(
      async () => await fn(door),
      async () => {
        this.#door = undefined;
        await door.close();
      },
    );
  }

  /**
   * Attaches to the stub of `withWritesReady`, until `hangUp`; nothing where no memory needs it.
   *
   * To be called as soon as the guest stands still: a read then takes 0.1 ms, through the monitor (`xp`) 0.3 ms,
   * for that goes to another thread of QEMU and back.
   *
   * @param state the run state that the guest stands still in.
   */
  async attach(state: RunState): Promise<void> {
    await this.#door?.attach(state);
  }

  /** Ends an attachment; to be called before the guest is resumed. */
  async hangUp(): Promise<void> {
    await this.#door?.hangUp();
  }

  /** Closes the RAM files. The QMP connection stays open. */
  async close(): Promise<void> {
    this.#forgetEvents();
    await this.#queue;
    this.#direct.close();
    this.#direct = NOTHING_DIRECT;
    this.#map = { blocks: [], pieces: [] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * A read of a file never waits, so who reads much would keep Ctrl-C and QEMU's messages out. In a pause nothing is
   * let in: it is short.
   */
  async #takeTurns(): Promise<void> {
    if (this.#beforeWrite !== undefined || performance.now() - this.#turnedAt < TURN_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnedAt = performance.now();
  }

  get #places(): GdbOptions {
    return { tmpDir: this.#options.tmpDir, owner: this.#processes[0] };
  }

  async #readThroughQemu(address: bigint, into: Uint8Array): Promise<void> {
    if (this.#door?.isAttached === true && into.length <= GDB_READ_LIMIT) {
      const gdb = await this.#door.attach();
      into.set(await gdb.readMemory(address, into.length));
    } else if (into.length <= EXAMINE_LIMIT) {
      into.set(await examine(this.#qmp, address, into.length));
    } else {
      await pmemsave(this.#qmp, address, into, this.#places);
    }
  }

  async #writeThroughGdb(address: bigint, bytes: Uint8Array): Promise<void> {
    // In a pause: writes may be sent together, the stub takes them one by one.
    if (this.#door?.isAttached === true && !this.#door.stoppedGuest) {
      const gdb = await this.#door.attach();
      return await gdb.writeMemory(address, bytes);
    }
    const work = this.#queue.then(async () => {
      await this.#withDoor(async (door) => {
        const gdb = await door.attach();
        const write = async (): Promise<void> => await gdb.writeMemory(address, bytes);
        // Who attached to a running guest has stopped it: that must not outlast the write.
        if (door.stoppedGuest) await finishing(write, async () => await door.hangUp());
        else await write();
      });
    });
    this.#queue = work.catch(() => undefined);
    await work;
  }

  /** Cuts a span at the borders of pieces. @throws {MemoryAccessError} where a byte of it is not RAM. */
  async #partsOf(action: "read" | "write", address: bigint, length: number): Promise<readonly Part[]> {
    if (!Number.isSafeInteger(length) || length < 0 || address < 0n) {
      throw new MemoryAccessError(action, address, length, "no such span");
    }
    if (this.#stale === "all") await this.refresh();
    let parts = cut(this.#map.pieces, address, length);
    // The image lies in boot RAM: right after a removal it has to be corrected, and 5 to 10 ms of questions can wait.
    if (this.#stale === "devices" && !isInBootRam(parts)) {
      await this.refresh();
      parts = cut(this.#map.pieces, address, length);
    }
    if (typeof parts === "bigint" && performance.now() - this.#refreshedAt > REFRESH_PAUSE_MS) {
      await this.refresh();
      parts = cut(this.#map.pieces, address, length);
    }
    if (typeof parts !== "bigint") return parts;
    throw new MemoryAccessError(action, address, length, `0x${parts.toString(16)} is not RAM of this guest`);
  }
}

function isInBootRam(parts: readonly Part[] | bigint): boolean {
  return typeof parts !== "bigint" && parts.every(({ piece }) => !piece.block.device);
}

/** The parts of a span, or the first address of it that is not RAM. */
function cut(pieces: readonly RamPiece[], address: bigint, length: number): readonly Part[] | bigint {
  const end = address + BigInt(length);
  const parts: Part[] = [];
  let next = address;
  for (const piece of pieces) {
    if (next >= end || piece.start > next) break;
    if (piece.end <= next) continue;
    const to = piece.end < end ? piece.end : end;
    parts.push({ piece, address: next, from: Number(next - address), to: Number(to - address) });
    next = to;
  }
  return next < end ? next : parts;
}
