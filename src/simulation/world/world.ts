/** One machine under one policy in virtual time: kernel, udevd with its rules, programs, keeper. */
import { blocksAreAlike } from "../../rules/blocks-alike.ts";
import type { CrashHotplug, KernelSpec } from "../../rules/device.ts";
import { makeEvent } from "../../rules/event.ts";
import { type KdumpCommand, recognise } from "../../rules/kdump-command.ts";
import type { Outcome, RuleAction, RunCommand } from "../../rules/outcome.ts";
import { NOTHING_KNOWN, type World as RuleWorld } from "../../rules/world.ts";
import type { KernelModel } from "../kernels.ts";
import { type LoadCall, updatesHeader } from "../load.ts";
import { VirtualClock } from "./clock.ts";
import type { Costs } from "./costs.ts";
import { keeperAction, ReconcileLoop } from "./keepers.ts";
import { Kexec } from "./kexec.ts";
import type { Policy } from "./policy.ts";
import { type Program, sleep, spawn } from "./process.ts";
import { Programs } from "./programs.ts";
import { Lock } from "./resources.ts";
import { type Change, MachineState } from "./state.ts";
import { EVENT_TIMEOUT, Udevd, type Uevent } from "./udevd.ts";

/** What a world is made of. */
export interface WorldOptions {
  readonly policy: Policy;
  readonly costs: Costs;
  readonly kernel: KernelModel;
  /** The system call that loads capture images. */
  readonly call: LoadCall;
  readonly bootBlocks: number;
  readonly cpus: number;
  /** Told of every change of the machine, with its time. */
  readonly listener: (change: Change, now: number, state: MachineState) => void;
}

type UeventAction = Uevent["action"];

/** A world that has booted and loaded its capture kernel. */
export class World {
  readonly clock: VirtualClock = new VirtualClock();
  readonly state: MachineState;
  readonly kexec: Kexec;
  readonly udevd: Udevd;
  /** Uevents so far, of memory and CPUs. */
  uevents = 0;
  readonly #options: WorldOptions;
  readonly #programs: Programs;
  /** device_hotplug_lock: one block goes online at a time, a whole DIMM is added or removed under it. */
  readonly #hotplug: Lock;
  /** Whether the kernel's own handler is at work. */
  readonly #updatesHeader: boolean;
  readonly #keeper: ReconcileLoop | undefined;
  readonly #ruleWorld: RuleWorld;
  readonly #blocksAreAlike: boolean;
  readonly #outcomes = new Map<string, Outcome>();
  readonly #kernelSpecs = new Map<CrashHotplug, KernelSpec>();
  readonly #commands = new Map<string, KdumpCommand | undefined>();

  constructor(options: WorldOptions) {
    this.#options = options;
    const { costs, kernel, cpus, call } = options;
    const { clock } = this;
    // kexec-tools, which makes the header for kexec_load, lists the CPUs that are present.
    const possible = call === "kexec_file_load" && kernel.cpuNotes === "possible";
    this.state = new MachineState(cpus, possible, (change) =>
      options.listener(change, clock.now, this.state),
    );
    this.kexec = new Kexec(clock, costs, this.state);
    this.#hotplug = new Lock(clock);
    this.#updatesHeader = updatesHeader(kernel, call);
    this.#programs = new Programs({
      clock,
      costs,
      state: this.state,
      kexec: this.kexec,
      udevd: () => this.udevd,
    });
    this.udevd = new Udevd(clock, {
      workers: costs.workers,
      timeout: EVENT_TIMEOUT,
      latency: costs.udevLatency,
      handle: (event) => this.#handle(event),
    });
    const act = keeperAction(options.policy.keeper, { clock, costs, kexec: this.kexec });
    this.#keeper = act && new ReconcileLoop(act);
    this.#ruleWorld = this.#world();
    this.#blocksAreAlike = blocksAreAlike(options.policy.rules);
    this.state.load(this.state.snapshot());
    // A keeper from outside has adopted the header before anything happens: it has a note for every possible CPU.
    if (options.policy.keeper === "in-place") this.state.rewrite("keeper");
  }

  /** Adds a DIMM, as the hypervisor and then the kernel do. Ends when the kernel has added it. */
  *plug(blocks: number, at?: number): Program<number> {
    const { costs } = this.#options;
    const dimm = this.state.plug(blocks, at);
    // From outside it is seen at once, from inside when the kernel speaks of it.
    if (this.#options.policy.keeper === "in-place") this.#keeper?.change();
    yield sleep(this.clock, costs.plugDimm);
    yield this.#hotplug.take();
    try {
      yield sleep(this.clock, blocks * costs.plugBlock);
      this.state.add(dimm);
      const { first } = this.state.placeOf(dimm);
      for (let block = 0; block < blocks; block++) this.#send("add", dimm, first, block);
      if (this.#options.kernel.autoOnline)
        for (let block = 0; block < blocks; block++) yield* this.#setOnline(dimm, block, true);
    } finally {
      this.#hotplug.release();
    }
    return dimm;
  }

  /** Takes a DIMM out: its blocks go offline one by one, then it goes. */
  *unplug(dimm: number): Program {
    yield this.#hotplug.take();
    try {
      const { first, blocks } = this.state.placeOf(dimm);
      for (let block = 0; block < blocks; block++) yield* this.#setOnline(dimm, block, false);
      // After the last block has gone offline no notifier is called any more: see ../handler.ts.
      this.state.remove(dimm);
      for (let block = 0; block < blocks; block++) this.#send("remove", dimm, first, block);
    } finally {
      this.#hotplug.release();
    }
    if (this.#options.policy.keeper === "in-place") this.#keeper?.change();
  }

  /** Hot-adds a CPU. */
  addCpu(): void {
    const cpu = this.state.cpus;
    this.state.addCpu();
    this.sendCpu("add", cpu);
  }

  /** Removes the CPU that came last. */
  removeCpu(): void {
    this.state.removeCpu();
    this.sendCpu("remove", this.state.cpus);
  }

  /** The kernel tells of a CPU. */
  sendCpu(action: UeventAction, cpu: number): void {
    this.#emit({ action, kind: "cpu", device: `cpu${cpu}`, dimm: -1, block: cpu });
  }

  /** The kernel tells of a block that was there at boot. */
  sendBootBlock(action: UeventAction, block: number): void {
    this.#emit({ action, kind: "memory", device: `memory${block}`, dimm: -1, block });
  }

  /** Blocks are named by their address: those of boot RAM come first. */
  #send(action: UeventAction, dimm: number, first: number, block: number): void {
    const device = `memory${this.#options.bootBlocks + first + block}`;
    this.#emit({ action, kind: "memory", device, dimm, block });
  }

  #emit(event: Uevent): void {
    this.uevents++;
    this.udevd.receive(event);
    if (this.#options.policy.keeper !== "in-place") this.#keeper?.change();
  }

  /**
   * One block goes online or offline, the kernel's handler included; then the kernel tells of it. The caller holds
   * device_hotplug_lock.
   */
  *#setOnline(dimm: number, block: number, online: boolean): Program {
    const { costs } = this.#options;
    if (!this.state.isAdded(dimm) || this.state.isOnline(dimm, block) === online) return;
    yield sleep(this.clock, online ? costs.onlineBlock : costs.offlineBlock);
    this.state.setOnline(dimm, block, online);
    if (this.#updatesHeader) yield* this.kexec.handler();
    this.#send(online ? "online" : "offline", dimm, this.state.placeOf(dimm).first, block);
  }

  /** Somebody writes `online` to a block's state; by then it may be gone. */
  *#writeOnline(dimm: number, block: number): Program {
    yield this.#hotplug.take();
    try {
      yield* this.#setOnline(dimm, block, true);
    } finally {
      this.#hotplug.release();
    }
  }

  /** A worker of udev with one event: rules, in which PROGRAM and attributes take their time, then RUN. */
  *#handle(event: Uevent): Program {
    yield sleep(this.clock, this.#options.costs.udevEvent);
    const outcome = this.#evaluate(event);
    for (const action of outcome.actions) yield* this.#act(action, event);
    for (const command of outcome.run) yield* this.#runCommand(command);
  }

  /** Rules that cannot tell one block from another are evaluated once for each state in which blocks can be. */
  #evaluate({ action, kind, device }: Uevent): Outcome {
    const { rules } = this.#options.policy;
    const crashHotplug = this.#crashHotplug;
    const key =
      kind === "memory" && this.#blocksAreAlike
        ? `${action} ${crashHotplug} ${this.state.loaded && !this.state.locked}`
        : undefined;
    const known = key === undefined ? undefined : this.#outcomes.get(key);
    if (known) return known;
    const spec = { action, devpath: `/devices/system/${kind}/${device}` };
    const outcome = rules.evaluate(makeEvent(spec, { kernel: this.#kernelSpec(crashHotplug) }), {
      world: this.#ruleWorld,
    });
    if (key !== undefined) this.#outcomes.set(key, outcome);
    return outcome;
  }

  *#act(action: RuleAction, event: Uevent): Program {
    if (action.kind === "program") {
      yield sleep(this.clock, this.#options.costs.program);
      const known = this.#recognise(action.command);
      if (known) yield* this.#programs.run(known);
    } else if (action.kind === "attribute" && event.dimm >= 0) {
      if (action.file.endsWith("/state") && action.value.startsWith("online"))
        yield* this.#writeOnline(event.dimm, event.block);
    } else if (action.kind === "attribute" && action.file.endsWith("/online") && action.value === "1") {
      this.sendCpu("online", event.block);
    }
  }

  *#runCommand({ kind, command }: RunCommand): Program {
    const { costs } = this.#options;
    if (kind === "builtin") return;
    yield sleep(this.clock, costs.program);
    if (/\bsystemctl is-active\b/.test(command)) yield this.#programs.pid1.serve(costs.isActive);
    const known = this.#recognise(command);
    if (!known) return;
    if (!known.detached) {
      yield* this.#programs.run(known);
      return;
    }
    yield this.#programs.pid1.serve(costs.systemdRun);
    this.clock.after(costs.transientStart, () => spawn(this.#programs.run(known)));
  }

  /** crash_check_hotplug_support: 0 where nothing is loaded, and also while the kexec lock is taken. */
  get #crashHotplug(): CrashHotplug {
    if (this.#options.kernel.crashElfcorehdrSize === undefined) return "absent";
    return this.#updatesHeader && this.state.loaded && !this.state.locked ? "1" : "0";
  }

  /** One value for each answer: what rules ask of all blocks alike is then made once. */
  #kernelSpec(crashHotplug: CrashHotplug): KernelSpec {
    let spec = this.#kernelSpecs.get(crashHotplug);
    if (!spec) {
      spec = { crashHotplug, autoOnline: this.#options.kernel.autoOnline ? "online" : "offline" };
      this.#kernelSpecs.set(crashHotplug, spec);
    }
    return spec;
  }

  /** The same few commands come thousands of times. */
  #recognise(command: string): KdumpCommand | undefined {
    if (!this.#commands.has(command)) this.#commands.set(command, recognise(command));
    return this.#commands.get(command);
  }

  #world(): RuleWorld {
    return {
      ...NOTHING_KNOWN,
      constant: (name) => ({ arch: "x86-64", virt: "kvm" })[name],
      program: (command) => {
        if (command.includes("kexec_crash_loaded"))
          return { exit: 0, stdout: this.state.loaded && !this.state.locked ? "1\n" : "0\n" };
        if (command.includes("uname -p")) return { exit: 0, stdout: "x86_64\n" };
        if (command.includes("systemd-detect-virt")) return { exit: 0, stdout: "kvm\n" };
        return this.#recognise(command) ? { exit: 0, stdout: "" } : undefined;
      },
    };
  }
}
