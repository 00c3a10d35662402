/** Hot-plug of CPUs, header first: the CPU's note is in the header before the CPU is there. */
import type { CaptureImage } from "../image/locate.ts";
import { undescribedCpus } from "../layout/cpu-notes.ts";
import type { Audit } from "./audit.ts";
import type { Keeper } from "./keeper.ts";
import type { PluggableMachine } from "./machine.ts";
import { changeableImage, makeRoom, PlugSizeError, UnfinishedPlugError } from "./plug.ts";

/** One CPU added. */
export interface PluggedCpu {
  readonly id: string;
  /** How long the machine stood still while the header got the notes of CPUs to come; undefined where it had them. */
  readonly pauseMicroseconds: number | undefined;
  /** The state afterwards, read back. */
  readonly after: Audit;
}

/** Where a new CPU's note would be cannot be known; nothing was plugged. Exit code 3. */
export class UnknownCpuNoteError extends Error {
  override readonly name = "UnknownCpuNoteError";
}

/**
 * Adds one CPU. The machine need not stand still for it: a header with the notes of all possible CPUs is true before
 * and after. Where the guest loads another image at that moment, that one is brought to the same form afterwards.
 *
 * @throws {UnknownCpuNoteError} where its note's address cannot be known; {PlugSizeError} where the guest's kernel
 *   takes no more CPUs; {ImageError} as {@link plugMemory} does, `header-too-large` where not all possible CPUs have
 *   room in the header and it cannot be moved: then nothing was plugged. {UnfinishedPlugError} where something was.
 */
export async function plugCpu(machine: PluggableMachine, keeper: Keeper): Promise<PluggedCpu> {
  const { after: before, installed } = await keeper.reconcile();
  const image = changeableImage(before);
  const { present, possible, undescribed, unknown } = before.cpus;
  if (possible === undefined)
    throw new UnknownCpuNoteError(
      `Nothing was plugged. ${unknown ?? "Where its note would be is not known"}`,
    );
  if (present >= possible)
    throw new PlugSizeError(
      `Nothing was plugged. ${present} CPUs are present, and the guest's kernel takes ${possible} at most`,
    );
  const pauses = [installed?.pauseMicroseconds];
  if (undescribed.length > 0) pauses.push((await makeRoom(keeper, image, describesAll)).pauseMicroseconds);
  let id: string | undefined;
  try {
    await machine.plugCpu((added) => (id = added));
    const { after } = await keeper.reconcile();
    return { id: id ?? "", pauseMicroseconds: sum(pauses), after };
  } catch (error) {
    throw id === undefined ? error : new UnfinishedPlugError({ id }, true, error);
  }
}

function describesAll({ header, possibleCpus }: CaptureImage): boolean {
  return possibleCpus.state === "known" && undescribedCpus(header, possibleCpus.notes).length === 0;
}

function sum(pauses: readonly (number | undefined)[]): number | undefined {
  const known = pauses.filter((pause) => pause !== undefined);
  return known.length === 0 ? undefined : known.reduce((a, b) => a + b);
}
