/**
 * The changes of a run in virtual time, made to a machine of bytes: what its panics give must be what the run's
 * timeline says.
 */
import type { Sha256 } from "../../image/hash.ts";
import { q35Blueprint } from "../blueprint.ts";
import { BLOCK_SIZE } from "../dimms.ts";
import type { KernelModel } from "../kernels.ts";
import type { LoadCall } from "../load.ts";
import { SimulatedMachine } from "../machine.ts";
import type { DumpVerdict } from "../panic.ts";
import type { SystemState } from "../system.ts";
import type { Scenario } from "./scenario.ts";
import type { Change, Condition } from "./state.ts";

/** What the machine of bytes is made of. */
export interface ReplayOptions {
  readonly scenario: Scenario;
  readonly kernel: KernelModel;
  readonly call: LoadCall;
  readonly sha256: Sha256;
  /** A keeper from outside, which writes into the machine's memory. */
  readonly keep: (machine: SimulatedMachine) => Promise<void>;
}

/** RAM of the replayed machine: how much there is at boot matters to no header but by its own range. */
const RAM = 256n << 20n;
const CRASH = 16n << 20n;
const MAX_SLOTS = 4096;

/** A machine that has booted and loads what the run's first changes say. */
export class Replay {
  readonly machine: SimulatedMachine;
  readonly #options: ReplayOptions;
  readonly #ids: string[] = [];
  readonly #seen = new Map<number, SystemState>();

  constructor(options: ReplayOptions) {
    const { scenario, kernel, sha256 } = options;
    this.#options = options;
    this.machine = new SimulatedMachine({
      blueprint: q35Blueprint({ ram: RAM, crash: CRASH, high: false }),
      kernel,
      sha256,
      cpus: { present: scenario.cpus, possible: Math.max(scenario.cpus, 64) },
      slots: MAX_SLOTS,
      autoOnline: false,
    });
  }

  /** Makes one change. */
  async apply(change: Change): Promise<void> {
    const { machine } = this;
    switch (change.kind) {
      case "plug":
        this.#ids[change.dimm] = machine.insertDimm(
          BigInt(change.blocks) * BLOCK_SIZE,
          machine.blueprint.hotBase + BigInt(change.first) * BLOCK_SIZE,
        );
        return;
      case "add":
        machine.addDimm(this.#ids[change.dimm]!);
        return;
      case "online":
      case "offline":
        machine.setBlock(this.#ids[change.dimm]!, change.block, change.kind === "online");
        return;
      case "remove":
        machine.removeDimm(this.#ids[change.dimm]!);
        return;
      case "add-cpu":
        machine.addCpu();
        return;
      case "remove-cpu":
        machine.removeCpu();
        return;
      case "snapshot":
        this.#seen.set(change.loader, machine.system);
        return;
      case "load":
        machine.load({ call: this.#options.call, seed: change.loader }, this.#seen.get(change.loader));
        this.#seen.delete(change.loader);
        return;
      case "unload":
        machine.unload();
        return;
      case "rewrite":
        if (change.by === "kernel") machine.handleMemoryEvent();
        else await this.#options.keep(machine);
        return;
      case "lock":
      case "unlock":
        machine.setKexecLocked(change.kind === "lock");
    }
  }

  /** What a panic now gives, in the timeline's words. */
  get condition(): Condition {
    return conditionOf(this.machine.judge());
  }
}

function conditionOf({ outcome, stale }: DumpVerdict): Condition {
  if (outcome === "no dump") return "blind";
  return outcome === "complete" && stale.isEmpty ? "accurate" : "stale";
}
