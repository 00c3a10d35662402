/** Re-arms of a simulated machine, as who sits inside does them: look, plan, confirm, one system call, verify. */
import { programHeaderRoom } from "../../src/elfcore/header.ts";
import { type CaptureImage, locateImage, type LocateHints } from "../../src/image/locate.ts";
import type { RearmFacts } from "../../src/image/rearm-image.ts";
import { confirmRearm, type RearmOutcome, verifyRearm } from "../../src/image/rearm-verify.ts";
import { planRearm, type RearmHashes, type RearmPlan } from "../../src/image/rearm.ts";
import { headerWithCpuNotes } from "../../src/layout/cpu-notes.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import { crashMemory } from "../../src/simulation/blueprint.ts";
import type { KexecCall } from "../../src/simulation/kexec-load.ts";
import type { LoadCall } from "../../src/simulation/load.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { buildMachine, parseSpec } from "../../src/simulation/spec.ts";
import { identityMap, usableRam } from "../../src/simulation/system.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";

/** What the running kernel tells who sits inside. */
export function factsOf(machine: SimulatedMachine): RearmFacts {
  const { system, kernel, blueprint } = machine;
  return {
    mapped: identityMap(system),
    levels: blueprint.paging.levels,
    gibPages: blueprint.paging.gibPages,
    totalRam: usableRam(system),
    updatesElfcorehdr: kernel.crashElfcorehdrSize !== undefined,
  };
}

/** The agent of one machine: it keeps from one look to the next what it has learned. */
export class Rearmer {
  readonly machine: SimulatedMachine;
  readonly #target: SimulatedTarget;
  #hints: LocateHints;
  #hashes: RearmHashes | undefined;

  constructor(machine: SimulatedMachine) {
    this.machine = machine;
    this.#target = new SimulatedTarget("sim:rearm", machine);
    this.#hints = { crashMemory: crashMemory(machine.blueprint) };
  }

  async image(): Promise<CaptureImage> {
    const { crashMemory: known } = this.#hints;
    const location = await locateImage(this.machine.memory, nodeSha256, {
      ...this.#hints,
      ...(this.#hints.kernel ? {} : { crashMemory: known }),
    });
    if (location.found !== "image")
      throw new Error(`Expected an image, found ${"reason" in location ? location.reason : location.found}`);
    this.#hints = { ...this.#hints, kernel: location.image.kernel, hashed: location.image };
    return location.image;
  }

  async plan(facts: RearmFacts = factsOf(this.machine)): Promise<RearmPlan> {
    const image = await this.image();
    const header = wantedHeader(image.header, await this.#target.layout());
    const wanted =
      image.possibleCpus.state === "unknown"
        ? header
        : headerWithCpuNotes(header, {
            notes: image.possibleCpus.notes,
            present: this.machine.cpus.present,
            room: programHeaderRoom(image.headerCapacity),
          });
    return planRearm(this.machine.memory, nodeSha256, image, wanted, facts, { hashes: this.#hashes });
  }

  /** Confirms and makes the call; what was learned is kept. */
  async call(plan: RearmPlan): Promise<void> {
    await confirmRearm(this.machine.memory, plan);
    const error = this.machine.kexecLoad(callOf(plan));
    if (error !== undefined) throw new Error(`kexec_load: ${error}`);
    const { image } = plan.madeFor;
    this.#hashes = plan.hashes;
    this.#hints = {
      ...this.#hints,
      hashed: { ...image, headerAddress: plan.headerAddress, digest: plan.digest },
    };
  }

  async verify(plan: RearmPlan): Promise<RearmOutcome> {
    return verifyRearm(this.machine.memory, nodeSha256, plan);
  }

  async rearm(): Promise<RearmPlan> {
    const plan = await this.plan();
    await this.call(plan);
    return plan;
  }
}

/** The arguments of the system call that `plan` is. */
export function callOf({ entry, flags, segments }: RearmPlan): KexecCall {
  return {
    entry,
    flags,
    segments: segments.map(({ address, size, bytes }) => ({
      buffer: bytes,
      mem: address,
      memsz: BigInt(size),
    })),
  };
}

/** Bytes of crash memory of {@link tightMachine}: kernel at its middle, an initrd below that fills what is left there. */
const TIGHT_CRASH = 3n << 20n;
const KERNEL_AT = 0x20_0000n;
/** What each loader puts at the very bottom: the header's segment, kexec-tools' setup_data. */
const BOTTOM = {
  kexec_file_load: { old: 0x1000n, new: 0x7_2000n },
  kexec_load: { old: 0x1000n, new: 0x1000n },
};

/**
 * A machine whose crash memory is nearly full: above the lowest segment, `freePages` are free, then comes the initrd, then the
 * kernel. More is free behind that.
 *
 * @param words - more of the machine's description, beginning with a comma.
 */
export function tightMachine(
  kernel: string,
  call: LoadCall,
  freePages: number,
  words = "",
): SimulatedMachine {
  const high = words.includes("high");
  const ram = high ? "ram=3G" : "ram=256M";
  const text = `${kernel},${ram},crash=${TIGHT_CRASH >> 20n}M,load=${call},noload,slots=400${words}`;
  const machine = buildMachine(parseSpec(text), nodeSha256);
  const bottom = BOTTOM[call][machine.kernel.crashElfcorehdrSize === undefined ? "old" : "new"];
  const initrdSize = KERNEL_AT - bottom - BigInt(freePages) * 4096n;
  machine.load({ call, initrdSize });
  return machine;
}
