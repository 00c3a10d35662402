/** The machine that we run in, or a copied tree of one, behind the keeper's port. */
import type { RunningKernel } from "../../image/kernel.ts";
import {
  parseVmcoreInfo,
  readVmcoreInfo,
  type VmcoreInfo,
  VMCOREINFO_NOTE_SIZE,
} from "../../image/vmcoreinfo.ts";
import type { RearmFacts } from "../../image/rearm-image.ts";
import type { Machine, PausedWork } from "../../keeper/machine.ts";
import { parseIomem, systemRam } from "../../layout/iomem.ts";
import { type MachineLayout, machineLayoutFromSysfs } from "../../layout/machine.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { parseCpuList, readCpus, readMemoryBlocks, readVmcoreinfoNote } from "../../layout/sysfs.ts";
import { LocalError } from "./error.ts";
import { findSymbols } from "./kallsyms.ts";
import { Kcore } from "./kcore.ts";
import { readRearmFacts } from "./rearm-facts.ts";
import { mappedMemory, runningKernel, SYMBOLS } from "./running-kernel.ts";
import { RootTree } from "./tree.ts";

/** What kind of machine we run on; injected so that a test can be any. */
export interface Host {
  /** `process.platform`. */
  readonly platform: string;
  /** `process.arch`. */
  readonly arch: string;
}

/** How a local machine is opened. */
export interface LocalMachineOptions {
  /** Its /proc and /sys. Default: those of this machine. */
  readonly tree?: RootTree;
  /** Ends a look at the next read. */
  readonly signal?: AbortSignal | undefined;
  readonly host?: Host;
}

/**
 * What counts as memory that a dump must have: what is `online`, or all that is `there`. What is offline may come online
 * at any moment, and is RAM to the kernel's own loader and its handler too, which list "System RAM"
 * (prepare_elf_headers, arch/x86/kernel/crash.c).
 */
export type Extent = "online" | "there";

const IOMEM = "/proc/iomem";
const POSSIBLE = "/sys/devices/system/cpu/possible";
const PRESENT = "/sys/devices/system/cpu/present";
const ONLINE = "/sys/devices/system/cpu/online";
const BLOCKS = "/sys/devices/system/memory";
const MEMINFO = "/proc/meminfo";

/** The local machine. Nothing is read before it is asked for. Close it. */
export class LocalMachine implements Machine, AsyncDisposable {
  readonly name = "local";
  readonly tree: RootTree;
  readonly memory: Kcore;
  readonly #host: Host;
  #symbols: Promise<ReadonlyMap<string, bigint>> | undefined;

  constructor({ tree = new RootTree(), signal, host }: LocalMachineOptions = {}) {
    this.tree = tree;
    this.#host = host ?? { platform: process.platform, arch: process.arch };
    this.memory = new Kcore({
      tree: this.tree,
      signal,
      systemRam: async () => systemRam(parseIomem(await this.#iomem())),
    });
  }

  /** @throws {LocalError} `unsupported` where this machine can have no files to look at. */
  checkSupported(): void {
    const { platform, arch } = this.#host;
    if (!this.tree.isLive) return;
    if (platform !== "linux")
      throw new LocalError(
        "unsupported",
        `This machine runs ${platform}, and kdump is Linux's: give qmp:PATH for a guest, or --root DIR for a copy of another machine's /proc and /sys`,
      );
    if (arch !== "x64")
      throw new LocalError(
        "unsupported",
        `This machine is ${arch}, and only x86-64 is understood: give --root DIR for a copy of another machine's /proc and /sys`,
      );
  }

  /**
   * @throws {LayoutError} naming the file: /proc/iomem has only zeros for who lacks CAP_SYS_ADMIN.
   * @throws {LocalError} where /proc/iomem is not there.
   */
  async layout(extent: Extent = "online"): Promise<MachineLayout> {
    const { tree } = this;
    const hasBlocks = (await tree.readText(`${BLOCKS}/block_size_bytes`)) !== undefined;
    return machineLayoutFromSysfs({
      iomem: parseIomem(await this.#iomem()),
      memory: hasBlocks ? await readMemoryBlocks(tree, { states: extent === "online" }) : undefined,
      cpus: await readCpus(tree),
      vmcoreinfoNote: await readVmcoreinfoNote(tree),
    });
  }

  /**
   * What is another text after memory or CPUs came or went, for a fraction of what a layout costs, which reads a file
   * for each memory block: the resources and the CPUs; and where it matters what is online the names of blocks, and
   * MemTotal, from which and to which pages go as blocks come online and go offline (adjust_managed_page_count(),
   * mm/page_alloc.c). A block that came online while another of the same size went offline is not seen; both are told
   * of by an event.
   *
   * @returns undefined where a file is not there, or the files are a copy: then only the layouts themselves tell.
   */
  async mark(extent: Extent = "online"): Promise<string | undefined> {
    const { tree } = this;
    if (!tree.isLive) return undefined;
    const texts: string[] = [];
    for (const path of [IOMEM, PRESENT, ONLINE, ...(extent === "online" ? [MEMINFO] : [])]) {
      const text = await tree.readText(path);
      if (text === undefined) return undefined;
      texts.push(path === MEMINFO ? (/^MemTotal:.*$/m.exec(text)?.[0] ?? "") : text);
    }
    if (extent === "online") texts.push(...(await tree.list(BLOCKS)).toSorted());
    return texts.join("\n");
  }

  /** Nobody can stop the machine that they run in. */
  async paused<T>(_work: () => Promise<T>): Promise<PausedWork<T>> {
    throw new LocalError(
      "unsupported",
      "A machine cannot be paused from inside: its header is corrected by the kernel, or by a load",
    );
  }

  /**
   * The kernel by its symbols, which lead straight to the loaded image; undefined where they are hidden, so that the
   * image is to be searched for.
   *
   * @throws {LocalError} `malformed` where kcore is another kernel's than the rest of the files.
   */
  async kernel({ inside }: MachineLayout): Promise<RunningKernel | undefined> {
    const note = inside?.vmcoreinfoNote;
    if (!inside || !note) return undefined;
    const ram = RangeSet.of(await this.memory.ranges());
    const pageOffset = await this.memory.pageOffset();
    const vmcoreinfo = await this.#vmcoreinfo(note.address, ram);
    if (!vmcoreinfo || pageOffset === undefined) return undefined;
    return await runningKernel(this.memory, ram, {
      vmcoreinfo,
      symbols: await this.#findSymbols(),
      pageOffset,
      crashMemory: inside.crashMemory,
      possibleCpus: parseCpuList((await this.tree.readText(POSSIBLE)) ?? "", POSSIBLE),
    });
  }

  /**
   * What a re-arm has to know of `kernel`, which is this machine's.
   *
   * @throws {ImageError} `unsafe-rearm` where the kernel hides what it has mapped.
   * @throws {LocalError} where a file does not say what it should.
   */
  async rearmFacts(kernel: RunningKernel): Promise<RearmFacts> {
    const ram = RangeSet.of(await this.memory.ranges());
    const mapped = await mappedMemory(this.memory, ram, kernel, await this.#findSymbols());
    return await readRearmFacts(this.tree, parseIomem(await this.#iomem()), mapped);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.memory[Symbol.asyncDispose]();
  }

  /** The note in memory where sysfs has it, which must be the one that kcore gives of itself. */
  async #vmcoreinfo(address: bigint, ram: RangeSet): Promise<VmcoreInfo | undefined> {
    const span = { start: address, end: address + BigInt(VMCOREINFO_NOTE_SIZE) };
    const found = ram.covers(span) ? await readVmcoreInfo(this.memory, address) : undefined;
    const bytes = await this.memory.vmcoreinfo();
    const own = bytes && parseVmcoreInfo(address, bytes);
    if (!own || (found && sameKernel(own, found))) return found;
    const kcore = this.tree.shown("/proc/kcore");
    throw new LocalError(
      "malformed",
      `${kcore} does not have its VMCOREINFO note (${own.release}) at 0x${address.toString(16)}, where ${this.tree.shown("/sys/kernel/vmcoreinfo")} says it is: they are not of the same boot; copy both again`,
    );
  }

  /** A running kernel's variables stay where they are. */
  async #findSymbols(): Promise<ReadonlyMap<string, bigint>> {
    this.#symbols ??= findSymbols(this.tree, SYMBOLS);
    return await this.#symbols;
  }

  async #iomem(): Promise<string> {
    const found = await this.tree.read(IOMEM);
    if (found.state === "text") return found.text;
    const shown = this.tree.shown(IOMEM);
    throw found.state === "denied"
      ? new LocalError("denied", `${shown} may not be read: run this as root`)
      : new LocalError(
          "absent",
          `${shown} does not exist: ${this.tree.isLive ? "mount /proc" : "copy it from the machine, as root"}`,
        );
  }
}

function sameKernel(a: VmcoreInfo, b: VmcoreInfo): boolean {
  return ["OSRELEASE", "SYMBOL(_stext)", "NUMBER(phys_base)", "KERNELOFFSET"].every(
    (key) => a.entries.get(key) === b.entries.get(key),
  );
}
