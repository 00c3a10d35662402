/** Hot-plug, header first: the machine never runs with memory that the header does not describe. */
import { EHDR_SIZE, PHDR_SIZE } from "../elfcore/header.ts";
import { pageOffsetOf } from "../elfcore/kinds.ts";
import { ImageError } from "../image/error.ts";
import type { CaptureImage } from "../image/locate.ts";
import { planInstall, type PlannedWrite } from "../image/plan.ts";
import { wantedHeader } from "../layout/wanted.ts";
import { type Audit, isCorrectable } from "./audit.ts";
import { applyPlan, checkSameImage } from "./install.ts";
import { type Keeper, MAX_ATTEMPTS, type Reconciled } from "./keeper.ts";
import type { PluggableMachine } from "./machine.ts";

/** One DIMM added. */
export interface Plugged {
  readonly id: string;
  readonly size: bigint;
  readonly pauseMicroseconds: number | undefined;
  /** Bytes changed in crash memory. */
  readonly bytesWritten: number;
  /** The state afterwards, read back. */
  readonly after: Audit;
}

/**
 * Adds one DIMM of `size` bytes: pause, add the device, write header and digest, resume.
 *
 * Whether the header has room and the image can be armed again is checked before anything is changed. If the writes
 * fail although the device is there, the machine runs again with the header as it was, and is reconciled; where that
 * fails too, the error says that the device is there.
 *
 * @throws {ImageError} `not-loaded` where no capture kernel is loaded, `forged` where its image cannot be armed again,
 * `header-too-large` where there is no room: then nothing was plugged. `changed` where something was.
 */
export async function plugMemory(machine: PluggableMachine, keeper: Keeper, size: bigint): Promise<Plugged> {
  for (let attempt = 1; ; attempt++) {
    const image = await readyImage(keeper);
    const prefix = await keeper.prepare(image);
    let id: string | undefined;
    try {
      const { value, microseconds } = await machine.paused(async () => {
        await checkSameImage(machine.memory, image);
        id = await machine.plugDimm(size);
        const wanted = wantedHeader(image.header, await machine.layout());
        const plan = await planInstall(machine.memory, image, wanted, prefix);
        await applyPlan(machine.memory, plan);
        keeper.follow(image, plan);
        return { id, size, bytesWritten: bytesOf(plan.writes) };
      });
      return { ...value, pauseMicroseconds: microseconds, after: await keeper.audit() };
    } catch (error) {
      if (id !== undefined) return { id, size, ...(await corrected(keeper, id, error)) };
      const again = error instanceof ImageError && error.kind === "changed" && attempt < MAX_ATTEMPTS;
      if (!again) throw error;
    }
  }
}

/** The loaded image, true and with room for one more program header. */
async function readyImage(keeper: Keeper): Promise<CaptureImage> {
  const { after } = await keeper.reconcile();
  const { image } = after;
  if (!image || after.verdict === "unknown" || after.verdict === "broken") {
    throw new ImageError("not-loaded", `Nothing was plugged. ${after.reason}`);
  }
  if (!isCorrectable(image) || pageOffsetOf(image.header) === undefined) {
    throw new ImageError(
      "forged",
      `Nothing was plugged. The header of the loaded image cannot be changed (its digest is ${image.digest.state}); reload the capture kernel in the guest first`,
    );
  }
  const needed = EHDR_SIZE + (image.header.programHeaders.length + 1) * PHDR_SIZE;
  if (needed > image.headerCapacity) {
    throw new ImageError(
      "header-too-large",
      `Nothing was plugged. One more program header needs ${needed} bytes, the header's segment has ${image.headerCapacity}; reload the capture kernel in the guest first`,
    );
  }
  return image;
}

/** The second try, with the device there and the machine running. */
async function corrected(keeper: Keeper, id: string, cause: unknown): Promise<Omit<Plugged, "id" | "size">> {
  const failure = (reason: string, error: unknown): ImageError =>
    new ImageError(
      "changed",
      `${id} was plugged, but the header could not be brought up to date: ${reason}`,
      {
        cause: error,
      },
    );
  let result: Reconciled;
  try {
    result = await keeper.reconcile();
  } catch (error) {
    throw failure(error instanceof Error ? error.message : String(error), error);
  }
  const { after, installed } = result;
  if (!after.image || !isCorrectable(after.image) || !after.missing.isEmpty)
    throw failure(after.reason, cause);
  return {
    pauseMicroseconds: installed?.pauseMicroseconds,
    bytesWritten: bytesOf(installed?.writes ?? []),
    after,
  };
}

function bytesOf(writes: readonly PlannedWrite[]): number {
  return writes.reduce((sum, { after }) => sum + after.length, 0);
}
