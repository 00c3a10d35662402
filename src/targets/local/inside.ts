/** The machine that we run in, behind the port of the keeper from inside. */
import type { Sha256 } from "../../image/hash.ts";
import type { RunningKernel } from "../../image/kernel.ts";
import type { LocateHints } from "../../image/locate.ts";
import { KEXEC_UPDATE_ELFCOREHDR, type RearmPlan } from "../../image/rearm.ts";
import type { RearmFacts } from "../../image/rearm-image.ts";
import type { FullLoad, InsideLook, InsideMachine } from "../../keeper/inside-machine.ts";
import { auditLocal } from "./audit.ts";
import { type KdumpFacts, readKdumpFacts } from "./facts.ts";
import { findCaptureFiles, type GivenCapture } from "./capture-files.ts";
import { type FullLoad as PreparedLoad, prepareFullLoad } from "./full-load.ts";
import { KexecError, KexecRefusedError } from "./kexec-error.ts";
import { prepareLoad } from "./kexec-load.ts";
import { kexecRefusals } from "./kexec-permission.ts";
import type { LocalMachine } from "./machine.ts";
import { retryWhileBusy } from "./retry-busy.ts";
import type { SystemCalls } from "./system-calls.ts";
import { type UeventWatch, watchUevents } from "./watch-uevents.ts";

/** How the machine is kept. */
export interface LocalInsideOptions {
  readonly sha256: Sha256;
  /** What is loaded where a load in full is needed, in place of the distribution's. */
  readonly capture?: GivenCapture;
  /** No call is made after it is aborted. */
  readonly signal?: AbortSignal;
  /** Why changes are heard in a worse way, a sentence without a full stop. */
  readonly onTrouble?: (trouble: string) => void;
}

/** Changes by system calls what {@link LocalMachine} only reads. */
export class LocalInside implements InsideMachine {
  readonly #machine: LocalMachine;
  readonly #calls: SystemCalls;
  readonly #options: LocalInsideOptions;
  /** The image of which the kernel has said that it keeps it true: it does not say so while the kexec lock is held. */
  #kept: bigint | undefined;

  constructor(machine: LocalMachine, calls: SystemCalls, options: LocalInsideOptions) {
    this.#machine = machine;
    this.#calls = calls;
    this.#options = options;
  }

  get memory(): LocalMachine["memory"] {
    return this.#machine.memory;
  }

  async look(hints: LocateHints, signal?: AbortSignal): Promise<InsideLook> {
    const { facts, ...audit } = await auditLocal(this.#machine, this.#options.sha256, hints, {
      signal,
      // What comes online after it was described has no gap. A kernel that keeps the header itself does so as blocks
      // come online, and is not to be forestalled.
      extentOf: ({ memoryHotplug }) =>
        memoryHotplug === true || this.#kept !== undefined ? "online" : "there",
    });
    const image = audit.image?.kimage?.address;
    if (facts?.memoryHotplug === true || facts?.cpuHotplug === true) this.#kept = image;
    return { audit, keptByKernel: image !== undefined && image === this.#kept };
  }

  async rearmFacts(kernel: RunningKernel): Promise<RearmFacts> {
    return await this.#machine.rearmFacts(kernel);
  }

  async rearmRefusals(): Promise<readonly string[]> {
    return await kexecRefusals(this.#machine.tree, "kexec_load");
  }

  async rearm(plan: RearmPlan, confirm: () => Promise<void>): Promise<number> {
    const { entry, segments, flags, crash, totalRam } = plan;
    const kernelUpdatesHeader = (flags & KEXEC_UPDATE_ELFCOREHDR) !== 0;
    const limits = { crash, memTotal: totalRam };
    using load = await beforeTheCall(async () =>
      prepareLoad(this.#calls, { entry, segments, kernelUpdatesHeader }, limits),
    );
    return await this.#retry("kexec_load", () => load.load(), confirm);
  }

  async loadInFull(): Promise<FullLoad> {
    const { tree } = this.#machine;
    const refusals = await kexecRefusals(tree, "kexec_file_load");
    if (refusals.length > 0)
      throw new KexecRefusedError(`Cannot load a capture kernel: ${refusals.join("; ")}; nothing was called`);
    const { files, facts, load } = await beforeTheCall(async () => {
      const found = await findCaptureFiles(tree, this.#options.capture);
      const known = await readKdumpFacts(tree);
      const prepared = await prepareFullLoad(this.#calls, found, Number(known.crashSize ?? 0n));
      return { files: found, facts: known, load: prepared };
    });
    await using _ = load;
    await this.#tryWhereSigned(load, files.kernel, facts);
    const callMs = await this.#retry("kexec_file_load", () => load.load());
    return { callMs, source: files.source };
  }

  /**
   * A kernel that is locked down loads only what is signed by a key that it trusts, and finds that out when it has let go
   * of the loaded image. So where there is one, the file is tried first.
   *
   * @throws {KexecRefusedError}
   */
  async #tryWhereSigned(
    { tryKernel }: Pick<PreparedLoad, "tryKernel">,
    kernel: string,
    { lockdown, crashLoaded }: KdumpFacts,
  ): Promise<void> {
    if (lockdown === undefined || lockdown === "none" || crashLoaded !== true) return;
    const cannot = `Cannot load ${kernel}: the kernel is locked down (${lockdown})`;
    if ((await this.#machine.tree.readText("/sys/kernel/kexec_loaded"))?.trim() !== "0")
      throw new KexecRefusedError(
        `${cannot}, and whether it accepts that file can only be tried where nothing is loaded for "kexec -e" (/sys/kernel/kexec_loaded): unload that; the image that is loaded stays`,
      );
    try {
      await this.#retry("kexec_file_load", () => {
        tryKernel();
        return 0;
      });
    } catch (error) {
      if (!(error instanceof KexecError)) throw error;
      throw new KexecRefusedError(
        `${cannot} and does not accept that file (${error.code}): give one that is signed by a key it trusts; the image that is loaded stays`,
        { cause: error },
      );
    }
  }

  /** Calls `changed` whenever memory or CPUs may have changed. */
  onChange(changed: () => void): UeventWatch {
    const { onTrouble = () => undefined } = this.#options;
    return watchUevents({ onChange: changed, onTrouble });
  }

  /** Waits for another loader, or for the kernel's own handler. */
  async #retry(
    call: KexecError["call"],
    attempt: () => number,
    confirm: () => Promise<void> = async () => undefined,
  ): Promise<number> {
    const check = async (): Promise<void> => {
      if (this.#options.signal?.aborted === true)
        throw new KexecRefusedError("Interrupted before the image was loaded; nothing was called");
      await confirm();
    };
    try {
      return await retryWhileBusy(attempt, { check });
    } catch (error) {
      if (!(error instanceof KexecError) || error.imageKept !== true || error.isBusy) throw error;
      const reasons = await kexecRefusals(this.#machine.tree, call);
      throw reasons.length === 0
        ? error
        : new KexecRefusedError(`${error.message} (${reasons.join("; ")})`, { cause: error });
    }
  }
}

/** What goes wrong in `work` went wrong before anything was called. */
async function beforeTheCall<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof KexecRefusedError || !(error instanceof Error)) throw error;
    throw new KexecRefusedError(`${error.message}; nothing was called`, { cause: error });
  }
}
