/** The simulated machine: hypervisor, running kernel and loaded image, in bytes. */
import type { Sha256 } from "../image/hash.ts";
import { type PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { ReadTree } from "../layout/sysfs.ts";
import type { Blueprint } from "./blueprint.ts";
import { blockCount, type Dimm, DimmSlots } from "./dimms.ts";
import { SimulationError } from "./error.ts";
import { handleMemoryEvent } from "./handler.ts";
import { type KexecCall, kexecLoad, type KexecErrno, type KexecStep } from "./kexec-load.ts";
import { readLoadedKimage, setImagePointer, writeKernel, writeMapped } from "./kernel-data.ts";
import type { KernelModel } from "./kernels.ts";
import { type LoadedImage, loadImage, type LoadRequest, updatesHeader } from "./load.ts";
import { SparseMemory } from "./memory.ts";
import { type DumpVerdict, judgeDump, panicMachine, type PanicResult } from "./panic.ts";
import { type CpuCounts, identityMap, type SystemState } from "./system.ts";
import { systemFiles } from "./views.ts";

/** What a machine is built from. */
export interface SimulatedMachineOptions {
  readonly blueprint: Blueprint;
  readonly kernel: KernelModel;
  readonly sha256: Sha256;
  readonly cpus: CpuCounts;
  /** DIMM slots; QEMU has 256 at most. */
  readonly slots: number;
  /** Whether the kernel puts new memory online by itself (`auto_online_blocks`), or waits for {@link SimulatedMachine.online}. */
  readonly autoOnline: boolean;
}

/** What is loaded unless said otherwise. */
export const DEFAULT_LOAD: LoadRequest = {
  call: "kexec_file_load",
  commandLine: "acpi_no_memhotplug reset_devices nr_cpus=1 console=ttyS0",
  seed: 7,
};

/**
 * A machine that has booted a kernel with `crashkernel=`; nothing is loaded.
 *
 * Every step is complete when it returns, and everything that can be asked is answered from the bytes in `memory`.
 */
export class SimulatedMachine {
  readonly memory: SparseMemory;
  readonly blueprint: Blueprint;
  readonly kernel: KernelModel;
  /** CPUs that were there when it booted. */
  readonly bootCpus: number;
  /** /proc and /sys, as the readers of src/layout take them. */
  readonly files: ReadTree;
  readonly #sha256: Sha256;
  readonly #dimms: DimmSlots;
  readonly #autoOnline: boolean;
  #cpus: CpuCounts;
  #image: LoadedImage | undefined;
  /** What the guest has not heard of yet, because it stands still. */
  readonly #waiting: (() => void)[] = [];
  #pauses = 0;
  readonly #pinned = new Set<string>();
  #kexecLocked = false;
  readonly #everAdded: PhysicalRange[] = [];
  /** Whether the kernel's own handler keeps the loaded image's header true. */
  #updatesHeader = false;

  /** @throws {SimulationError} where the CPU counts make no sense. */
  constructor(options: SimulatedMachineOptions) {
    const { present, possible } = options.cpus;
    if (!(present >= 1 && present <= possible))
      throw new SimulationError("those CPUs", `${present} present of ${possible} possible`);
    this.blueprint = options.blueprint;
    this.kernel = options.kernel;
    this.#sha256 = options.sha256;
    this.#cpus = options.cpus;
    this.bootCpus = present;
    this.#autoOnline = options.autoOnline;
    this.#dimms = new DimmSlots(options.blueprint.hotBase, options.slots);
    this.memory = new SparseMemory(options.blueprint.backedRam);
    writeKernel(this.memory, this.blueprint, this.kernel, possible);
    writeMapped(this.memory, this.blueprint, identityMap(this.system));
    this.files = systemFiles(() => ({
      ...this.system,
      loaded: this.loaded,
      updatesHeader: this.#updatesHeader,
      autoOnline: this.#autoOnline,
    }));
  }

  /** This moment, for those who judge. */
  get system(): SystemState {
    return {
      blueprint: this.blueprint,
      kernel: this.kernel,
      dimms: this.#dimms.all,
      cpus: this.#cpus,
      everAdded: [...this.#everAdded],
    };
  }

  get dimms(): readonly Dimm[] {
    return this.#dimms.all;
  }

  get cpus(): CpuCounts {
    return this.#cpus;
  }

  /** Whether `kexec_crash_image` leads to an image. */
  get loaded(): boolean {
    return readLoadedKimage(this.memory, this.blueprint) !== undefined;
  }

  /** Where the image that was loaded last has its parts; for tests and scenarios. */
  get image(): LoadedImage | undefined {
    return this.#image;
  }

  /**
   * Loads a capture image, over the old one if there is one.
   *
   * @param seen - what the loader has read of the machine; a loader that takes its time describes an earlier moment.
   * @throws {SimulationError} where that cannot be.
   */
  load(request: Partial<LoadRequest> = {}, seen: SystemState = this.system): LoadedImage {
    const image = loadImage(this.memory, this.#sha256, seen, { ...DEFAULT_LOAD, ...request });
    this.#image = image;
    this.#updatesHeader = updatesHeader(this.kernel, image.call);
    return image;
  }

  /**
   * The system call kexec_load, with KEXEC_ON_CRASH.
   *
   * @param step - called at moments inside of it, at which {@link panic} gives what a panic then gives but for the lock.
   * @returns its error; undefined where it succeeded.
   */
  kexecLoad(call: KexecCall, step?: (step: KexecStep) => void): KexecErrno | undefined {
    if (this.#kexecLocked) return "EBUSY";
    const error = kexecLoad(this.memory, this.system, call, step);
    const now = readLoadedKimage(this.memory, this.blueprint);
    this.#updatesHeader = now !== undefined && (call.flags & 4) !== 0;
    if (now && this.#image)
      this.#image = { ...this.#image, segments: now.segments, controlPages: now.controlPages };
    return error;
  }

  /** Unloads: the pointer becomes NULL, the bytes stay where they are. */
  unload(): void {
    setImagePointer(this.memory, this.blueprint, undefined);
  }

  /**
   * Plugs a DIMM: it is there at once; the kernel adds it, and puts it online where it does so by itself, as soon as
   * the machine runs.
   *
   * @returns its name.
   * @throws {SimulationError} where there is no room for it, or its size is none that the kernel can use.
   */
  plugDimm(size: bigint): string {
    const id = this.insertDimm(size);
    this.#react(() => {
      this.addDimm(id);
      if (this.#autoOnline) this.online(id);
    });
    return id;
  }

  /**
   * The hypervisor's part of {@link plugDimm}: the DIMM is there, and the kernel has not heard of it.
   *
   * @param place - its address; the lowest that is free, unless given.
   */
  insertDimm(size: bigint, place?: bigint): string {
    const { id, range } = this.#dimms.plug(size, place);
    this.memory.add(range);
    return id;
  }

  /** The kernel's part of {@link plugDimm}: the DIMM is "System RAM" now, its blocks are offline. */
  addDimm(id: string): void {
    this.#dimms.markAdded(id);
    this.#everAdded.push(this.#dimms.get(id).range);
    writeMapped(this.memory, this.blueprint, identityMap(this.system));
  }

  /** One block goes online or offline; the kernel's handler is not called ({@link handleMemoryEvent}). */
  setBlock(id: string, block: number, online: boolean): void {
    this.#dimms.setOnline(id, block, online);
  }

  /** What the kernel's own handler does, whatever image is loaded. */
  handleMemoryEvent(): void {
    handleMemoryEvent(this.memory, this.system);
  }

  /** Puts the blocks of one DIMM, or of all, online, one by one (`echo online >…/memoryN/state`). */
  online(id?: string): void {
    for (const dimm of id === undefined ? this.dimms : [this.#dimms.get(id)]) {
      if (!dimm.added) continue;
      for (let block = 0; block < blockCount(dimm); block++) {
        if (dimm.online.has(block)) continue;
        this.#setBlock(dimm.id, block, true);
      }
    }
  }

  /**
   * Lets something in the machine use memory at the end of a DIMM that cannot be moved elsewhere, for good.
   *
   * @throws {SimulationError} where there is no such DIMM.
   */
  pin(id: string): void {
    this.#pinned.add(this.#dimms.get(id).id);
  }

  /**
   * Removes a DIMM: the kernel puts its blocks offline and gives it up, then it leaves the machine, with its bytes.
   *
   * @throws {SimulationError} where there is no such DIMM, or the machine stands still or refuses to give it up.
   */
  unplug(id: string): void {
    if (!this.requestRemoval(id))
      throw new SimulationError(`removing ${id}`, "memory in it is in use and cannot be moved elsewhere");
  }

  /**
   * Asks the kernel for a DIMM, as {@link unplug} does. One that is pinned is refused: its blocks go offline one by one
   * up to the last, which does not, and those that were online are brought back (acpi_scan_try_to_offline).
   *
   * @returns whether it is gone.
   * @throws {SimulationError} where there is no such DIMM, or the machine stands still.
   */
  requestRemoval(id: string): boolean {
    const dimm = this.#dimms.get(id);
    if (this.#pauses > 0)
      throw new SimulationError(`removing ${id}`, "the machine stands still and cannot give it up");
    const online = [...dimm.online].sort((a, b) => a - b);
    const held = this.#pinned.has(id) ? online.pop() : undefined;
    for (const block of online) this.#setBlock(id, block, false);
    if (held !== undefined) {
      for (const block of online) this.#setBlock(id, block, true);
      return false;
    }
    // From here on no notifier is called: see handler.ts.
    this.removeDimm(id);
    return true;
  }

  /** The kernel gives up a DIMM whose blocks are offline, and it leaves the machine. */
  removeDimm(id: string): void {
    const { range } = this.#dimms.get(id);
    this.#dimms.markRemoved(id);
    this.#dimms.remove(id);
    this.#pinned.delete(id);
    this.memory.remove(range);
  }

  /** Hot-adds the next CPU. @returns its number. @throws {SimulationError} where all possible ones are present. */
  addCpu(): number {
    const { present, possible } = this.#cpus;
    if (present === possible)
      throw new SimulationError("one more CPU", `all ${possible} possible ones are present`);
    this.#cpus = { present: present + 1, possible };
    return present;
  }

  /** Removes the CPU that came last. @throws {SimulationError} where only the boot CPUs are left. */
  removeCpu(): void {
    const { present, possible } = this.#cpus;
    if (present === this.bootCpus)
      throw new SimulationError("one CPU less", `only the ${present} of boot are left`);
    this.#cpus = { present: present - 1, possible };
  }

  /** The kexec lock: while it is taken, a panic starts no capture kernel (__crash_kexec only tries it). */
  setKexecLocked(locked: boolean): void {
    this.#kexecLocked = locked;
  }

  /** Stops the machine; what happens to it from outside, it hears of when it runs again. Pauses nest. */
  pause(): void {
    this.#pauses++;
  }

  /** Ends one {@link pause}. */
  resume(): void {
    this.#pauses = Math.max(0, this.#pauses - 1);
    while (this.#pauses === 0 && this.#waiting.length > 0) this.#waiting.shift()!();
  }

  get running(): boolean {
    return this.#pauses === 0;
  }

  /**
   * What a panic at this instant gives. The machine itself goes on as if nothing had been: the panic happens to a
   * copy of it.
   */
  panic(): PanicResult {
    if (this.#kexecLocked) return { kind: "no image" };
    return panicMachine(this.memory.fork(), this.#sha256, this.system);
  }

  /** Judges the dump that {@link panic} gives now. */
  judge(result: PanicResult = this.panic()): DumpVerdict {
    return judgeDump(result, this.system);
  }

  /** Boot RAM and DIMMs: what exists, used or not. */
  get backed(): RangeSet {
    return this.blueprint.backedRam.union(RangeSet.of(this.dimms.map(({ range }): PhysicalRange => range)));
  }

  /** A block goes online or offline, and the kernel's own handler hears of it. */
  #setBlock(id: string, block: number, online: boolean): void {
    this.#dimms.setOnline(id, block, online);
    if (this.#updatesHeader) this.handleMemoryEvent();
  }

  #react(work: () => void): void {
    if (this.running) work();
    else this.#waiting.push(work);
  }
}
