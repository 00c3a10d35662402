/** CPUs removed: the machine gives them up, and the header stays as it is. */
import { ImageError } from "../image/error.ts";
import type { Audit } from "./audit.ts";
import type { Keeper } from "./keeper.ts";
import type { RemovableCpu, RemovalAnswer, UnpluggableMachine } from "./machine.ts";
import { type RemovalStage, UnfinishedRemovalError } from "./unplug.ts";

/** What became of one CPU that was to be removed. */
export interface UnpluggedCpu {
  readonly name: string;
  readonly answer: RemovalAnswer;
  /** The state afterwards, read back. */
  readonly after: Audit;
}

/**
 * Removes one CPU: the machine's kernel is asked for it.
 *
 * Its note stays in the header. The note's memory belongs to the CPU's number for as long as the kernel runs, it is
 * empty until that CPU panics or is stopped by a panic, and the capture kernel leaves empty notes out; headers of Linux
 * 6.6 and newer keep it too, for they have a note for every possible CPU. So the header is brought to that form before
 * (a CPU that comes later may be another one), and nothing has to be corrected afterwards.
 *
 * @param limitMs how long the machine's kernel may take for its answer.
 * @throws {ImageError} `panicking` where the machine has panicked: nothing was asked for. {UnfinishedRemovalError} where
 * something was.
 */
export async function unplugCpu(
  machine: Pick<UnpluggableMachine, "removableCpus">,
  keeper: Keeper,
  cpu: RemovableCpu,
  limitMs: number,
): Promise<UnpluggedCpu> {
  const { name, fixed } = cpu;
  const { after: before } = await keeper.reconcile();
  if (before.image?.usedCpuNote !== undefined)
    throw new ImageError("panicking", `Nothing was removed. ${before.reason}`);
  if (fixed !== undefined)
    return { name, answer: { answer: "refused", reason: `nothing was asked for: ${fixed}` }, after: before };
  let stage: RemovalStage | undefined;
  try {
    const heard = await cpu.remove(limitMs, () => (stage = "asked"));
    // What the machine lists counts: it may have gone right after the limit, too.
    const there = (await machine.removableCpus()).some((each) => each.name === name);
    const answer = there ? stillThere(heard) : ({ answer: "removed" } as const);
    if (answer.answer !== "pending") stage = answer.answer === "removed" ? "corrected" : "refused";
    return { name, answer, after: (await keeper.reconcile()).after };
  } catch (error) {
    throw stage === undefined ? error : new UnfinishedRemovalError(cpu, stage, error);
  }
}

function stillThere(heard: RemovalAnswer): RemovalAnswer {
  if (heard.answer !== "removed") return heard;
  return { answer: "pending", reason: "its removal was told, and it is still listed" };
}
