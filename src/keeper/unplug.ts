/** Memory removed: the machine gives it up first, then the header is corrected. */
import { ImageError } from "../image/error.ts";
import { fitsInPlace } from "../image/plan.ts";
import { layoutWithout } from "../layout/machine.ts";
import { formatRange, type PhysicalRange } from "../layout/range.ts";
import { wantedHeader } from "../layout/wanted.ts";
import { type Audit, isCorrectable } from "./audit.ts";
import { type Keeper, MAX_ATTEMPTS, type Reconciled } from "./keeper.ts";
import type {
  BackendFate,
  RemovableDevice,
  RemovableDimm,
  RemovalAnswer,
  UnpluggableMachine,
} from "./machine.ts";

/** What became of one DIMM that was to be removed. */
export interface Unplugged {
  readonly name: string;
  readonly range: PhysicalRange;
  readonly answer: RemovalAnswer;
  /** What became of its backend; undefined where the DIMM is still there. */
  readonly backend: BackendFate | undefined;
  /**
   * How long the header described what was gone, microseconds: from the word that it is gone until the new header was
   * read back. Undefined where nothing had to be installed, or the machine has no clock.
   */
  readonly staleMicroseconds: number | undefined;
  readonly pauseMicroseconds: number | undefined;
  /** The state afterwards, read back. */
  readonly after: Audit;
}

/** A name that stands for no device of the machine that can be removed; nothing was asked for. Exit code 2. */
export class UnknownDeviceError extends Error {
  override readonly name = "UnknownDeviceError";
}

/**
 * How far a removal had come:
 * `asked` the machine may give the device up at any time; `refused` it does not; `removed` it is gone and the header may
 * still describe it; `corrected` the header was corrected, too (nothing has to be for a CPU).
 */
export type RemovalStage = "asked" | "refused" | "removed" | "corrected";

const STAGE_WORDS: Readonly<Record<RemovalStage, string>> = {
  asked:
    "is not gone as far as is known, and the request cannot be taken back: the guest may give it up at any time, and the header describes it until keep --once is run after that",
  refused: "stays, for the guest refused to give it up",
  removed:
    "was removed, but the header may still describe it: run keep --once, or reload the capture kernel in the guest",
  corrected: "was removed and the header corrected",
};

const CPU_STAGE_WORDS: Readonly<Record<RemovalStage, string>> = {
  ...STAGE_WORDS,
  asked:
    "is not gone as far as is known, and the request cannot be taken back: the guest may give it up at any time, which the header need not know",
  corrected: "was removed, which the header need not know",
};

/** A removal was asked for, and something went wrong afterwards: `cause`. */
export class UnfinishedRemovalError extends Error {
  override readonly name = "UnfinishedRemovalError";
  readonly device: RemovableDevice;
  readonly stage: RemovalStage;

  constructor(device: RemovableDevice, stage: RemovalStage, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`${device.name} ${(device.kind === "cpu" ? CPU_STAGE_WORDS : STAGE_WORDS)[stage]} (${why})`, {
      cause,
    });
    this.device = device;
    this.stage = stage;
  }
}

/**
 * The DIMMs of `machine` that `names` stand for, each once, in the order of the names.
 *
 * @throws {UnknownDeviceError} which lists those that can be removed.
 */
export async function dimmsNamed(
  machine: Pick<UnpluggableMachine, "removableDimms">,
  names: readonly string[],
): Promise<readonly RemovableDimm[]> {
  return named(await machine.removableDimms(), names, "DIMM");
}

/** As {@link dimmsNamed}, CPUs among them. */
export async function devicesNamed(
  machine: Pick<UnpluggableMachine, "removableDimms" | "removableCpus">,
  names: readonly string[],
): Promise<readonly RemovableDevice[]> {
  const [dimms, cpus] = await Promise.all([machine.removableDimms(), machine.removableCpus()]);
  return named([...dimms, ...cpus], names, "DIMM or CPU");
}

function named<T extends RemovableDevice>(
  there: readonly T[],
  names: readonly string[],
  what: string,
): readonly T[] {
  const wanted = names.map((name) => {
    const device = there.find((each) => each.name === name || `/machine/peripheral/${each.name}` === name);
    if (device) return device;
    throw new UnknownDeviceError(
      `Nothing was removed. The machine has no ${what} ${JSON.stringify(name)}; ${listText(there)}`,
    );
  });
  return [...new Set(wanted)];
}

/** A machine may have 256 DIMMs. */
const MAX_LISTED = 16;

function listText(there: readonly RemovableDevice[]): string {
  const devices = there.filter((device) => device.kind !== "cpu" || device.fixed === undefined);
  if (devices.length === 0) return "it has none at all that can be removed";
  const listed = devices
    .slice(0, MAX_LISTED)
    .map((device) => `${device.name}${device.kind === "dimm" ? ` at ${formatRange(device.range)}` : ""}`);
  const more = devices.length > MAX_LISTED ? ` and ${devices.length - MAX_LISTED} more` : "";
  return `these can be removed: ${listed.join(", ")}${more}`;
}

/**
 * Removes one DIMM: the machine's kernel is asked for it, and once it is gone the header is corrected.
 *
 * In this order the header never lacks memory that is still there. The price is the time in which it describes what is
 * gone; so all that can be done before is: the header is made true, the rest of the image hashed, and the header without
 * the DIMM planned. A refused DIMM stays described, and so does one of which some blocks went offline.
 *
 * @param limitMs how long the machine's kernel may take for its answer.
 * @throws {ImageError} where the loaded image is such that the header could not be corrected afterwards: nothing was
 * asked for then. {UnfinishedRemovalError} where something was.
 */
export async function unplugMemory(
  machine: UnpluggableMachine,
  keeper: Keeper,
  dimm: RemovableDimm,
  limitMs: number,
): Promise<Unplugged> {
  const { name, range } = dimm;
  await getReady(keeper, dimm);
  let stage: RemovalStage | undefined;
  try {
    const answer = await dimm.remove(limitMs, () => (stage = "asked"));
    const heard = answer.answer === "removed" ? machine.now() : undefined;
    if (answer.answer !== "pending") stage = answer.answer;
    // The header first, without a hash: that follows, with the verdict.
    const { installed } = await keeper.update();
    const corrected = installed && machine.now();
    if (stage === "removed" && installed) stage = "corrected";
    const result = await keeper.reconcile();
    const known = heard !== undefined && corrected !== undefined;
    const common = {
      name,
      range,
      staleMicroseconds: known ? corrected - heard : undefined,
      pauseMicroseconds: (installed ?? result.installed)?.pauseMicroseconds,
      after: result.after,
    };
    // It may have gone between the limit and this look.
    const late = answer.answer === "pending" && !isThere(result, range);
    if (answer.answer !== "removed" && !late) return { ...common, answer, backend: undefined };
    stage = "corrected";
    return { ...common, answer: { answer: "removed" }, backend: await dimm.releaseBackend() };
  } catch (error) {
    throw stage === undefined ? error : new UnfinishedRemovalError(dimm, stage, error);
  }
}

function isThere({ after }: Reconciled, { start }: PhysicalRange): boolean {
  return after.layout.devices.some(({ range }) => range?.start === start);
}

/** Makes the header true and gives it the room that it will need, and hashes the rest of the image. */
async function getReady(keeper: Keeper, dimm: RemovableDimm): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { after } = await keeper.reconcile();
    const { image } = after;
    // Nothing is loaded that could be wrong afterwards.
    if (image === undefined && after.verdict === "not-loaded") return;
    if (image?.usedCpuNote !== undefined)
      throw new ImageError("panicking", `Nothing was removed. ${after.reason}`);
    if (!image || !isCorrectable(image))
      throw new ImageError(
        "forged",
        `Nothing was removed. The header could not be corrected afterwards: ${after.reason}`,
      );
    const wanted = wantedHeader(image.header, layoutWithout(after.layout, dimm.range));
    if (fitsInPlace(image, wanted)) return void (await keeper.prepare(image));
    // Out of the middle of a PT_LOAD, a removal makes two: the header goes where there is room for both first.
    try {
      await keeper.makeRoom(image);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      if (error.kind === "header-too-large")
        throw new ImageError(error.kind, `Nothing was removed. Without ${dimm.name}: ${error.message}`, {
          cause: error,
        });
      if (error.kind !== "changed") throw error;
    }
    if (attempt === MAX_ATTEMPTS)
      throw new ImageError("changed", "Nothing was removed. The guest kept changing its image; look again");
  }
}
