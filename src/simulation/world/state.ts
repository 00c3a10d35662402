/**
 * The machine as virtual time needs it: what exists, what is online, what the loaded header describes, kept as counts
 * so that thousands of blocks and reloads cost nothing. Each change is told to who listens, so that the same changes
 * can be made to a machine of bytes (replay.ts), whose panics must agree with the counts here.
 */
import { BLOCK_SIZE } from "../dimms.ts";
import { SimulationError } from "../error.ts";
import { type DimmPlace, DimmPlaces } from "./places.ts";

/** What can happen to the machine, in the order in which it happens. */
export type Change =
  /** A DIMM is there: the hypervisor has added it. DIMMs are numbered from 0, in the order in which they come. */
  | { readonly kind: "plug"; readonly dimm: number; readonly first: number; readonly blocks: number }
  /** The kernel has added it: it is "System RAM" in /proc/iomem, its blocks are offline. */
  | { readonly kind: "add"; readonly dimm: number }
  | { readonly kind: "online" | "offline"; readonly dimm: number; readonly block: number }
  /** The kernel has given it up, and the hypervisor has taken it out. */
  | { readonly kind: "remove"; readonly dimm: number }
  | { readonly kind: "add-cpu" }
  | { readonly kind: "remove-cpu" }
  /** A loader has read what the machine has: what is loaded next describes this moment. */
  | { readonly kind: "snapshot"; readonly loader: number }
  | { readonly kind: "load"; readonly loader: number }
  | { readonly kind: "unload" }
  /** The header in place now describes what the machine has: the kernel's handler, or a keeper. */
  | { readonly kind: "rewrite"; readonly by: "kernel" | "keeper" }
  /** The kexec lock is taken or given up: while it is held, a panic starts no capture kernel. */
  | { readonly kind: "lock" | "unlock" };

/** What a panic at this instant would give. */
export type Condition = "blind" | "stale" | "accurate";

/** What an image describes: hot-pluggable blocks by their place (1 is described), and the notes of so many CPUs. */
interface Description {
  /** Shared by all that describe the same moment. */
  readonly blocks: Uint8Array;
  readonly cpus: number;
}

/** What is told to listeners after each change. */
export interface StateListener {
  (change: Change): void;
}

/** What a block is; more than one can hold. */
const BACKED = 1;
/** The kernel has added it: it is "System RAM". */
const ADDED = 2;
const ONLINE = 4;

const BLOCK = Number(BLOCK_SIZE);

/** One machine. */
export class MachineState {
  /** DIMMs by number; undefined once they are gone. */
  readonly #dimms: (DimmPlace | undefined)[] = [];
  readonly #places = new DimmPlaces();
  readonly #listPossibleCpus: boolean;
  readonly #loaders = new Map<number, Description>();
  readonly #listener: StateListener;
  /** Hot-pluggable memory, block by block from its lowest address. */
  #blocks: Uint8Array = new Uint8Array(64);
  #cpus: number;
  /** What the image describes that is loaded, or was last: the counts below are kept up to date against it. */
  #described: Description = { blocks: new Uint8Array(0), cpus: 0 };
  #loaded = false;
  #locked = false;
  /** Descriptions of what there is now, by what a block must be; they hold until a DIMM comes or goes. */
  readonly #current = new Map<number, Uint8Array>();
  #missingBlocks = 0;
  #staleBlocks = 0;
  #loaderCount = 0;
  #dimmCount = 0;

  /**
   * @param cpus - present at boot. @param listPossibleCpus - whether what is loaded has a note for each possible CPU.
   * @param listener - told of each change, once it has happened.
   */
  constructor(cpus: number, listPossibleCpus: boolean, listener: StateListener) {
    this.#cpus = cpus;
    this.#listPossibleCpus = listPossibleCpus;
    this.#listener = listener;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  get locked(): boolean {
    return this.#locked;
  }

  /** What a panic now would give. */
  get condition(): Condition {
    if (!this.#loaded || this.#locked) return "blind";
    return this.#missingBlocks > 0 || this.#staleBlocks > 0 || this.missingCpus > 0 ? "stale" : "accurate";
  }

  /** Bytes that are online and that a dump would lack; 0 where a panic gives none. */
  get missingBytes(): number {
    return this.condition === "blind" ? 0 : this.#missingBlocks * BLOCK;
  }

  /** Present CPUs that have no note. */
  get missingCpus(): number {
    return Math.max(0, this.#cpus - this.#described.cpus);
  }

  /** DIMMs that are there, by number. */
  get dimms(): readonly number[] {
    return this.#dimms.flatMap((place, dimm) => (place ? [dimm] : []));
  }

  get dimmCount(): number {
    return this.#dimmCount;
  }

  get cpus(): number {
    return this.#cpus;
  }

  /** Where a DIMM is, in blocks of hot-pluggable memory. */
  placeOf(dimm: number): DimmPlace {
    const place = this.#dimms[dimm];
    if (!place) throw new SimulationError(`DIMM ${dimm}`, "the machine has none of that number now");
    return place;
  }

  isOnline(dimm: number, block: number): boolean {
    return (this.#blocks[this.placeOf(dimm).first + block]! & ONLINE) !== 0;
  }

  /** Whether the DIMM is there and the kernel has added it. */
  isAdded(dimm: number): boolean {
    const place = this.#dimms[dimm];
    return place !== undefined && (this.#blocks[place.first]! & ADDED) !== 0;
  }

  /**
   * A DIMM appears, at block `at` of hot-pluggable memory or at the lowest place where it fits. @returns its number.
   *
   * @throws {SimulationError} where there is no such place.
   */
  plug(blocks: number, at?: number): number {
    const place = this.#places.take(blocks, at);
    const { first } = place;
    const dimm = this.#dimms.push(place) - 1;
    this.#dimmCount++;
    this.#current.clear();
    this.#grow(first + blocks);
    for (let i = first; i < first + blocks; i++) {
      this.#blocks[i] = BACKED;
      // The place of one that is gone and still described.
      if (this.#describes(i)) this.#staleBlocks--;
    }
    this.#listener({ kind: "plug", dimm, ...place });
    return dimm;
  }

  add(dimm: number): void {
    const { first, blocks } = this.placeOf(dimm);
    this.#current.clear();
    for (let i = first; i < first + blocks; i++) this.#blocks[i]! |= ADDED;
    this.#listener({ kind: "add", dimm });
  }

  setOnline(dimm: number, block: number, online: boolean): void {
    if (this.isOnline(dimm, block) === online) return;
    const i = this.placeOf(dimm).first + block;
    this.#blocks[i]! ^= ONLINE;
    if (!this.#describes(i)) this.#missingBlocks += online ? 1 : -1;
    this.#listener({ kind: online ? "online" : "offline", dimm, block });
  }

  /** A DIMM whose blocks are offline goes. */
  remove(dimm: number): void {
    const place = this.placeOf(dimm);
    const { first, blocks } = place;
    for (let i = first; i < first + blocks; i++) {
      if ((this.#blocks[i]! & ONLINE) !== 0)
        throw new SimulationError(`removing DIMM ${dimm}`, "blocks of it are online");
      this.#blocks[i] = 0;
      if (this.#describes(i)) this.#staleBlocks++;
    }
    this.#places.free(place);
    this.#dimms[dimm] = undefined;
    this.#dimmCount--;
    this.#current.clear();
    this.#listener({ kind: "remove", dimm });
  }

  addCpu(): void {
    this.#cpus++;
    this.#listener({ kind: "add-cpu" });
  }

  removeCpu(): void {
    this.#cpus--;
    this.#listener({ kind: "remove-cpu" });
  }

  /** A loader reads what there is (/proc/iomem and the CPUs). @returns a number to {@link load} with. */
  snapshot(): number {
    const loader = this.#loaderCount++;
    this.#loaders.set(loader, this.#describe(ADDED, this.#listPossibleCpus ? Infinity : this.#cpus));
    this.#listener({ kind: "snapshot", loader });
    return loader;
  }

  /** An image is loaded that describes what its loader saw. */
  load(loader: number): void {
    this.#loaded = true;
    this.#count(this.#loaders.get(loader)!);
    this.#loaders.delete(loader);
    this.#listener({ kind: "load", loader });
  }

  unload(): void {
    this.#loaded = false;
    this.#listener({ kind: "unload" });
  }

  /**
   * The loaded image's header comes to describe what there is: the kernel looks at /proc/iomem, a keeper from outside
   * at the hypervisor's devices.
   */
  rewrite(by: "kernel" | "keeper"): void {
    if (!this.#loaded) return;
    // Both list every possible CPU: the kernel's handler since 6.6, a keeper by the kernel's per-CPU table.
    this.#count(this.#describe(by === "kernel" ? ADDED : BACKED, Infinity));
    this.#listener({ kind: "rewrite", by });
  }

  /** The kexec lock, which load, unload and the kernel's own handler take. */
  setLocked(locked: boolean): void {
    this.#locked = locked;
    this.#listener({ kind: locked ? "lock" : "unlock" });
  }

  #describes(block: number): boolean {
    return this.#described.blocks[block] === 1;
  }

  #describe(what: number, cpus: number): Description {
    let blocks = this.#current.get(what);
    if (!blocks) {
      blocks = new Uint8Array(this.#blocks.length);
      for (let i = 0; i < blocks.length; i++) blocks[i] = (this.#blocks[i]! & what) === 0 ? 0 : 1;
      this.#current.set(what, blocks);
    }
    return { blocks, cpus };
  }

  /** From now on `description` counts. */
  #count(description: Description): void {
    const same = description.blocks === this.#described.blocks;
    this.#described = description;
    if (same) return;
    this.#missingBlocks = 0;
    this.#staleBlocks = 0;
    for (let i = 0; i < this.#blocks.length; i++) {
      if ((this.#blocks[i]! & ONLINE) !== 0 && !this.#describes(i)) this.#missingBlocks++;
      else if (this.#blocks[i] === 0 && this.#describes(i)) this.#staleBlocks++;
    }
  }

  #grow(blocks: number): void {
    if (blocks <= this.#blocks.length) return;
    const grown = new Uint8Array(Math.max(blocks, this.#blocks.length * 2));
    grown.set(this.#blocks);
    this.#blocks = grown;
  }
}
