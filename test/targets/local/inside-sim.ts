/**
 * A simulated machine that is kept from inside by the real agent: it reads a copied tree, and its system calls are carried
 * out by the simulated kernel.
 */
import { type InsideInstall, InsideKeeper } from "../../../src/keeper/inside.ts";
import type { KexecErrno } from "../../../src/simulation/kexec-load.ts";
import type { SimulatedMachine } from "../../../src/simulation/machine.ts";
import { LocalInside } from "../../../src/targets/local/inside.ts";
import { LocalMachine } from "../../../src/targets/local/machine.ts";
import { loadSystemCalls, type SystemCalls } from "../../../src/targets/local/system-calls.ts";
import { RootTree } from "../../../src/targets/local/tree.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { bzImage } from "./bzimage-file.ts";
import { AnsweredCalls, type MadeCall, ownMemory } from "./harmless-calls.ts";
import { copyMachine, copyMemory, TempTree } from "./simulated-tree.ts";

const ERRNO: Readonly<Record<KexecErrno, number>> = { EBUSY: 16, EINVAL: 22, EADDRNOTAVAIL: 99, ENOMEM: 12 };
/** KEXEC_ARCH_MASK */
const ARCHITECTURE = 0xffff_0000n;
const SEGMENT = 32;

const KEXEC_FILE_ON_CRASH = 2n;

/** Whether it is about the capture image. */
function isLoad({ name, args }: MadeCall): boolean {
  if (name !== "kexec_file_load") return name === "kexec_load";
  const flags = args.at(-1);
  return flags instanceof Uint8Array || (BigInt(flags ?? 0) & KEXEC_FILE_ON_CRASH) !== 0n;
}

/** What a test does in the middle of things. */
export interface Hooks {
  /** Right before a call; an errno is its answer, and nothing is called. */
  before?: (call: MadeCall) => number | undefined;
  /** In place of a call that has nothing to do with the capture image; its answer is an errno. */
  tried?: (call: MadeCall) => number;
  /** Right after one that succeeded, before anybody looks. */
  after?: (call: MadeCall) => void;
}

/** The machine, its files, and the agent. */
export class InsideSim implements AsyncDisposable {
  readonly machine: SimulatedMachine;
  readonly tree: TempTree;
  readonly calls: AnsweredCalls;
  readonly keeper: InsideKeeper;
  readonly hooks: Hooks = {};
  readonly #local: LocalMachine;

  private constructor(
    machine: SimulatedMachine,
    tree: TempTree,
    calls: SystemCalls,
    treeAt: (root: string) => RootTree,
  ) {
    this.machine = machine;
    this.tree = tree;
    this.calls = new AnsweredCalls(calls, (call) => this.#answer(call));
    // Files that change while they are looked at, as those of a running kernel do.
    this.#local = new LocalMachine({
      tree: treeAt(tree.root),
      host: { platform: "linux", arch: "x64" },
    });
    const inside = new LocalInside(this.#local, this.calls, {
      sha256: nodeSha256,
      capture: { kernel: `${tree.root}/vmlinuz`, commandLine: "acpi_no_memhotplug" },
    });
    this.keeper = new InsideKeeper(inside, nodeSha256, { now: () => this.now });
  }

  /** Milliseconds, for the agent's waiting between loads. */
  now = 0;

  /** @param treeAt the agent's view of the files. */
  static async of(
    machine: SimulatedMachine,
    treeAt: (root: string) => RootTree = (root) => new RootTree(root, true),
  ): Promise<InsideSim> {
    const sim = new InsideSim(machine, await TempTree.make(), await loadSystemCalls(), treeAt);
    const small = bzImage((view) => view.setUint32(0x260, 0x10_0000, true));
    await sim.tree.write("vmlinuz", small);
    // It is looked for below the root, and opened where it is named.
    await sim.tree.write(`${sim.tree.root}/vmlinuz`, small);
    return sim;
  }

  /** Shows the agent the machine as it is now. */
  async refresh(): Promise<void> {
    await copyMachine(this.machine, this.tree);
  }

  /** {@link refresh}, and lets it work. */
  async update(): Promise<InsideInstall | undefined> {
    await this.refresh();
    const { installed } = await this.keeper.update();
    return (await this.keeper.confirm()) ?? installed;
  }

  /** The calls that would have loaded a capture image. */
  get loads(): readonly string[] {
    return this.calls.made.filter(isLoad).map(({ name }) => name);
  }

  #answer(call: MadeCall): number | undefined {
    if (!call.name.startsWith("kexec")) return undefined;
    if (!isLoad(call)) return this.hooks.tried?.(call) ?? 0;
    const refusal = this.hooks.before?.(call);
    // The kernel lets go of the loaded image before it looks at the files (kexec_file_load, kernel/kexec_file.c).
    if (call.name === "kexec_file_load" && refusal !== undefined && refusal !== ERRNO.EBUSY)
      this.machine.unload();
    const answer = refusal ?? this.#load(call);
    if (answer === 0) this.hooks.after?.(call);
    copyMemory(this.machine, this.tree);
    return answer;
  }

  #load({ name, args }: MadeCall): number {
    if (name === "kexec_file_load") {
      this.machine.load({ call: "kexec_file_load" });
      return 0;
    }
    const [entry, count, at, flags] = args.map((arg) =>
      arg instanceof Uint8Array ? 0n : BigInt.asUintN(64, BigInt(arg)),
    );
    const table = ownMemory(at!, Number(count) * SEGMENT);
    const segments = Array.from({ length: Number(count) }, (_, i) => {
      const word = (j: number): bigint => table.readBigUInt64LE(i * SEGMENT + j * 8);
      return { buffer: new Uint8Array(ownMemory(word(0), Number(word(1)))), mem: word(2), memsz: word(3) };
    });
    const error = this.machine.kexecLoad({
      entry: entry!,
      segments,
      flags: Number(flags! & ~ARCHITECTURE),
    });
    return error === undefined ? 0 : ERRNO[error];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#local[Symbol.asyncDispose]();
    await this.tree[Symbol.asyncDispose]();
  }
}
