/** Physical memory through /proc/kcore: read, never written. */
import { closeSync, read as readCallback } from "node:fs";
import { EHDR_SIZE } from "../../elfcore/header.ts";
import { equalBytes } from "../../image/bytes.ts";
import { MemoryAccessError, type PhysicalMemory } from "../../image/memory.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { codeOf } from "../qemu/unix-socket.ts";
import { LocalError } from "./error.ts";
import { openToRead } from "./file.ts";
import { kcoreHeaderSize, kcorePieces, type KcoreTable, parseKcore, vmcoreinfoIn } from "./kcore-elf.ts";
import type { RootTree } from "./tree.ts";

const KCORE = "/proc/kcore";
/** Bytes of one access; a caller that asks for more has lost count. */
const MAX_ACCESS = 1024 ** 3;
/** How often a read is made anew because the file's layout changed meanwhile: as often as memory is added, at most. */
const MAX_ATTEMPTS = 8;

/** The file's layout at one moment. */
interface View {
  /** File header and program headers. */
  readonly header: Uint8Array;
  readonly table: KcoreTable;
  /** What may be read: in the file, and RAM by the kernel's own list. */
  readonly ram: RangeSet;
}

/** What {@link Kcore} needs. */
export interface KcoreOptions {
  readonly tree: RootTree;
  /** RAM as the kernel lists it now; nothing else is ever read. */
  readonly systemRam: () => Promise<RangeSet>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The memory of the machine that we run in, or of a copied tree's `proc/kcore`. It is opened when it is first needed.
 *
 * The kernel moves everything in the file when memory is added or removed (its data follows its program headers), and
 * notices that itself only when somebody opens it (`kcore_update_ram`). So the program headers are compared after each
 * read, and read anew, after opening the file once more, where they differ or a span is not in them.
 */
export class Kcore implements PhysicalMemory, AsyncDisposable {
  readonly #options: KcoreOptions;
  readonly #shown: string;
  #file: number | undefined;
  #view: View | undefined;

  constructor(options: KcoreOptions) {
    this.#options = options;
    this.#shown = options.tree.shown(KCORE);
  }

  /** RAM that can be read now. @throws {LocalError} where there is no kcore, or it may not be read. */
  async ranges(): Promise<readonly PhysicalRange[]> {
    return (await this.#refresh()).ram.ranges;
  }

  /** `__va(0)`, the base of the kernel's linear mapping; undefined where the file does not tell. */
  async pageOffset(): Promise<bigint | undefined> {
    return (this.#view ?? (await this.#refresh())).table.pageOffset;
  }

  /** The VMCOREINFO note that the file has itself; undefined where it has none. */
  async vmcoreinfo(): Promise<Uint8Array | undefined> {
    const { table } = this.#view ?? (await this.#refresh());
    if (!table.notes) return undefined;
    const notes = new Uint8Array(table.notes.size);
    const done = await this.#fill(await this.#open(), notes, table.notes.offset);
    return vmcoreinfoIn(notes.subarray(0, done));
  }

  async read(address: bigint, length: number, room?: Uint8Array): Promise<Uint8Array> {
    if (!Number.isSafeInteger(length) || length < 0 || length > MAX_ACCESS || address < 0n)
      throw new MemoryAccessError("read", address, length, "no such span can be read at once");
    const bytes = room?.subarray(0, length) ?? new Uint8Array(length);
    if (length === 0) return bytes;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const view = attempt === 0 ? (this.#view ?? (await this.#refresh())) : await this.#refresh();
      const span = { start: address, end: address + BigInt(length) };
      const pieces = view.ram.covers(span) ? kcorePieces(view.table, address, length) : undefined;
      if (!pieces) {
        if (attempt === 0) continue;
        throw new MemoryAccessError("read", address, length, `${this.#shown} has no RAM there`);
      }
      let at = 0;
      for (const piece of pieces) {
        const part = bytes.subarray(at, at + piece.length);
        if ((await this.#fill(await this.#open(), part, piece.offset)) < part.length)
          throw new MemoryAccessError("read", address, length, `${this.#shown} ends before it`);
        at += piece.length;
      }
      if (await this.#isCurrent(view)) return bytes;
    }
    throw new MemoryAccessError(
      "read",
      address,
      length,
      `${this.#shown} changed at every attempt to read it`,
    );
  }

  async write(address: bigint, bytes: Uint8Array): Promise<void> {
    const reason = "from inside a machine its memory is only read; a new header needs kexec_load";
    throw new MemoryAccessError("write", address, bytes.length, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  async #refresh(): Promise<View> {
    const { tree, systemRam } = this.#options;
    const file = await this.#open();
    // Opening is what makes the kernel look at its memory again.
    if (this.#view && tree.isLive) closeSync(await this.#openOnce());
    const header = await this.#header(file);
    const table = parseKcore(header, this.#shown);
    if (table.loads.length === 0)
      throw new LocalError(
        "malformed",
        `${this.#shown} has no physical memory in it: no PT_LOAD of the linear mapping has a physical address`,
      );
    const ram = RangeSet.of(table.loads.map(({ range }) => range)).intersect(await systemRam());
    this.#view = { header, table, ram };
    return this.#view;
  }

  async #header(file: number): Promise<Uint8Array> {
    const first = new Uint8Array(EHDR_SIZE);
    const found = await this.#fill(file, first, 0n);
    const header = new Uint8Array(kcoreHeaderSize(first.subarray(0, found), this.#shown));
    return header.subarray(0, await this.#fill(file, header, 0n));
  }

  async #isCurrent({ header }: View): Promise<boolean> {
    if (!this.#options.tree.isLive) return true;
    const now = new Uint8Array(header.length);
    await this.#fill(await this.#open(), now, 0n);
    return equalBytes(now, header);
  }

  async #open(): Promise<number> {
    this.#file ??= await this.#openOnce();
    return this.#file;
  }

  async #openOnce(): Promise<number> {
    const file = openToRead(await this.#options.tree.locate(KCORE), this.#shown);
    if (typeof file !== "string") return file;
    if (file === "absent")
      throw new LocalError(
        "absent",
        this.#options.tree.isLive
          ? `${this.#shown} does not exist: /proc is not mounted, or the kernel was built without CONFIG_PROC_KCORE`
          : `${this.#shown} does not exist, so crash memory cannot be read: put an ELF core file of the machine's memory there, such as QEMU's dump-guest-memory writes`,
      );
    throw new LocalError(
      "denied",
      file === "EACCES"
        ? `${this.#shown} may not be read: run this as root`
        : `${this.#shown} may not be opened (EPERM): the kernel is locked down (lockdown=confidentiality), or this process has no CAP_SYS_RAWIO`,
    );
  }

  /** Reads until `bytes` is full or the file ends. @returns how many were read. */
  async #fill(file: number, bytes: Uint8Array, offset: bigint): Promise<number> {
    let done = 0;
    while (done < bytes.length) {
      this.#options.signal?.throwIfAborted();
      const count = await this.#readAt(file, bytes.subarray(done), offset + BigInt(done));
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async #readAt(file: number, bytes: Uint8Array, position: bigint): Promise<number> {
    // Node 20's FileHandle.read takes no bigint, and offsets go beyond 2^53.
    return await new Promise((resolve, reject) => {
      readCallback(file, bytes, 0, bytes.length, position, (error, count) => {
        if (error === null) return resolve(count);
        const where = `0x${position.toString(16)}`;
        const code = codeOf(error);
        reject(
          new LocalError(
            code === "EPERM" ? "denied" : "malformed",
            `${this.#shown} cannot be read at offset ${where}: ${code === "" ? error.message : code}`,
            { cause: error },
          ),
        );
      });
    });
  }
}
