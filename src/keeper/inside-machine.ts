/** The port through which the keeper sees and changes a machine from inside, where nobody can stop it. */
import type { LocateHints } from "../image/locate.ts";
import type { PhysicalMemory } from "../image/memory.ts";
import type { RearmPlan } from "../image/rearm.ts";
import type { RearmFacts } from "../image/rearm-image.ts";
import type { RunningKernel } from "../image/kernel.ts";
import type { Audit } from "./audit.ts";

/** What a look from inside gave. */
export interface InsideLook {
  readonly audit: Audit;
  /** Whether the kernel says that it keeps the loaded header true itself: its handler may be about to. */
  readonly keptByKernel: boolean;
}

/** A load in full that was made. */
export interface FullLoad {
  /** Duration of the system call, ms: so long a panic found nothing loaded. */
  readonly callMs: number;
  /** Where kernel, initrd and command line were found, in words. */
  readonly source: string;
}

/** A machine that is kept by who runs in it. */
export interface InsideMachine {
  /** Read only. */
  readonly memory: PhysicalMemory;
  /** A look that held. @param signal ends it between two reads, with its reason. */
  look(hints: LocateHints, signal?: AbortSignal): Promise<InsideLook>;
  /** What a re-arm has to know of `kernel`. @throws where it cannot be known. */
  rearmFacts(kernel: RunningKernel): Promise<RearmFacts>;
  /** Why re-arms are not permitted, each in words without a full stop; none where nothing is known against them. */
  rearmRefusals(): Promise<readonly string[]>;
  /**
   * Makes the system call that `plan` is.
   *
   * @param confirm to be called right before each attempt; what it throws ends them.
   * @returns the duration of the call, ms.
   * @throws errors with {@link KeptMark} where the image that was loaded before is still armed.
   */
  rearm(plan: RearmPlan, confirm: () => Promise<void>): Promise<number>;
  /** Loads kernel, initrd and command line over the image that is loaded. @throws as {@link rearm}. */
  loadInFull(): Promise<FullLoad>;
}

/** Carried by errors of a load that did not touch the image which was loaded before. Any other may have let go of it. */
export interface KeptMark {
  readonly imageKept: true;
}

/** Whether a load that ended with `error` left the image that was loaded before. */
export function isImageKept(error: unknown): boolean {
  return error instanceof Error && "imageKept" in error && error.imageKept === true;
}
