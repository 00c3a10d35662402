/** Hot-plug, header first: the machine never runs with memory that the header does not describe. */
import { programHeaderRoom } from "../elfcore/header.ts";
import { joinedToFit } from "../elfcore/join.ts";
import { pageOffsetOf } from "../elfcore/kinds.ts";
import { ImageError } from "../image/error.ts";
import type { CaptureImage } from "../image/locate.ts";
import { bytesWritten, planInstall, type PlannedWrite } from "../image/plan.ts";
import { hotpluggableRegions } from "../layout/machine.ts";
import { formatBytes, formatRange } from "../layout/range.ts";
import { wantedHeader } from "../layout/wanted.ts";
import { type Audit, isCorrectable } from "./audit.ts";
import { ImageCheck } from "./image-check.ts";
import { applyPlan } from "./install.ts";
import { endedWith, type OpenInstall } from "./install-log.ts";
import { type Keeper, MAX_ATTEMPTS, type Reconciled } from "./keeper.ts";
import { type AllocatedDimm, isLoss, type PausedWork, type PluggableMachine } from "./machine.ts";

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

/** Linux adds and removes memory in blocks of at least this size and alignment (MIN_MEMORY_BLOCK_SIZE, x86-64). */
export const MEMORY_BLOCK: bigint = 128n << 20n;

/** Memory that Linux could not use was asked for; nothing was plugged. Exit code 2. */
export class PlugSizeError extends Error {
  override readonly name = "PlugSizeError";
}

/** A DIMM or a CPU is there, and something went wrong afterwards: `cause`. */
export class UnfinishedPlugError extends Error {
  override readonly name = "UnfinishedPlugError";
  readonly id: string;
  /** Bytes of a DIMM; undefined for a CPU. */
  readonly size: bigint | undefined;
  /** Whether the header was written before it went wrong: then nothing is missing, as far as is known. */
  readonly described: boolean;

  constructor(device: { readonly id: string; readonly size?: bigint }, described: boolean, cause: unknown) {
    const what = described
      ? `${device.id} was plugged and the header written, but then`
      : `${device.id} was plugged, but the header could not be brought up to date`;
    super(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.id = device.id;
    this.size = device.size;
    this.described = described;
  }
}

/**
 * Adds one DIMM of `size` bytes: allocate its memory, pause, add the device, write header and digest, resume.
 *
 * That the header has room (or is moved to where it has) and the image can be armed again is seen to before anything
 * else. If the writes fail although the device is there, the machine runs again with the header as it was, and is
 * reconciled; where that fails too, the error says that the device is there.
 *
 * @throws {PlugSizeError} for a size that Linux cannot use, or where its place would be one; {ImageError} `not-loaded`
 * where no capture kernel is loaded, `forged` where its image cannot be armed again, `header-too-large` where there is
 * no room and none can be made: then nothing was plugged. {UnfinishedPlugError} where something was.
 */
export async function plugMemory(machine: PluggableMachine, keeper: Keeper, size: bigint): Promise<Plugged> {
  if (size <= 0n || size % MEMORY_BLOCK !== 0n) {
    throw new PlugSizeError(
      `Nothing was plugged. Linux adds memory in blocks of ${formatBytes(MEMORY_BLOCK)}, and ${formatBytes(size)} is no multiple of that`,
    );
  }
  let dimm: AllocatedDimm | undefined;
  for (let attempt = 1; ; attempt++) {
    let id: string | undefined;
    let open: OpenInstall | undefined;
    let done: PausedWork<{ readonly id: string; readonly writes: readonly PlannedWrite[] }>;
    try {
      const image = await readyImage(keeper);
      const prefix = await keeper.prepare(image);
      const allocated = (dimm ??= await machine.allocateDimm(size));
      open = await keeper.intend(image);
      const check = new ImageCheck(machine.memory, image);
      done = await machine.paused(async () => {
        await check.run();
        await allocated.plug((added) => (id = added));
        const wanted = wantedHeader(image.header, await machine.layout());
        const plan = await planInstall(machine.memory, image, wanted, prefix);
        await open?.planned(plan);
        await applyPlan(machine.memory, plan);
        keeper.follow(image, plan.writes);
        return { id: id ?? "", writes: plan.writes };
      });
      open?.installed({ writes: done.value.writes, pauseMicroseconds: done.microseconds });
    } catch (error) {
      endedWith(open, error);
      if (id !== undefined) return { id, size, ...(await corrected(keeper, { id, size }, error)) };
      const again = error instanceof ImageError && error.kind === "changed" && attempt < MAX_ATTEMPTS;
      if (!again) throw await givenBack(dimm, error);
      continue;
    }
    const { value, microseconds: pauseMicroseconds } = done;
    const plugged = { id: value.id, size };
    try {
      const seen = await keeper.audit();
      // A kernel that rewrites its header itself takes the device out again where it is late with another one.
      const after = seen.missing.isEmpty ? seen : (await keeper.reconcile()).after;
      return { ...plugged, pauseMicroseconds, bytesWritten: bytesWritten(value.writes), after };
    } catch (error) {
      throw new UnfinishedPlugError(plugged, true, error);
    }
  }
}

/** Gives back the memory of a DIMM that was not plugged. @returns what is to be thrown. */
async function givenBack(dimm: AllocatedDimm | undefined, cause: unknown): Promise<unknown> {
  if (dimm === undefined || isLoss(cause)) return cause;
  try {
    await dimm.free();
    return cause;
  } catch (error) {
    const words = [cause, error].map((each) => (each instanceof Error ? each.message : String(each)));
    return new AggregateError([cause, error], words.join("; "));
  }
}

/** The loaded image, true and with room for one more program header, where needed after a move. */
async function readyImage(keeper: Keeper): Promise<CaptureImage> {
  const { after } = await keeper.reconcile();
  const image = changeableImage(after);
  const odd = hotpluggableRegions(after.layout).ranges.find(({ end }) => end % MEMORY_BLOCK !== 0n);
  if (odd !== undefined) {
    throw new PlugSizeError(
      `Nothing was plugged. The memory at ${formatRange(odd)} does not end with a block of ${formatBytes(MEMORY_BLOCK)}, so what is plugged behind it begins within one, and Linux could not use it; unplug that first`,
    );
  }
  return hasRoomForOneMore(image) ? image : (await makeRoom(keeper, image, hasRoomForOneMore)).image;
}

/**
 * Moves the header of `image` to where it can grow, before the machine does: then plugging is what it ever is.
 *
 * @param suits whether an image has what the header was moved for.
 * @throws {ImageError} `header-too-large` where it cannot be moved: nothing was plugged.
 */
export async function makeRoom(
  keeper: Keeper,
  image: CaptureImage,
  suits: (image: CaptureImage) => boolean,
): Promise<{ readonly image: CaptureImage; readonly pauseMicroseconds: number | undefined }> {
  let pauseMicroseconds: number | undefined;
  try {
    ({ pauseMicroseconds } = await keeper.makeRoom(image));
  } catch (error) {
    if (!(error instanceof ImageError) || error.kind !== "header-too-large") throw error;
    throw new ImageError("header-too-large", `Nothing was plugged. ${error.message}`, { cause: error });
  }
  const moved = (await keeper.audit()).image;
  if (!moved || !isCorrectable(moved) || !suits(moved))
    throw new ImageError("changed", "The capture image changed after its header was moved; look again");
  return { image: moved, pauseMicroseconds };
}

function hasRoomForOneMore(image: CaptureImage): boolean {
  return joinedToFit(image.header, programHeaderRoom(image.headerCapacity) - 1) !== undefined;
}

/**
 * The image of `after`, which must permit a change.
 *
 * @throws {ImageError} as {@link plugMemory} does.
 */
export function changeableImage(after: Audit): CaptureImage {
  const { image } = after;
  if (image?.usedCpuNote !== undefined)
    throw new ImageError("panicking", `Nothing was plugged. ${after.reason}`);
  if (!image || after.verdict === "unknown" || after.verdict === "broken") {
    throw new ImageError("not-loaded", `Nothing was plugged. ${after.reason}`);
  }
  if (!isCorrectable(image) || pageOffsetOf(image.header) === undefined) {
    throw new ImageError(
      "forged",
      `Nothing was plugged. The header of the loaded image cannot be changed (its digest is ${image.digest.state}); reload the capture kernel in the guest first`,
    );
  }
  return image;
}

/** The second try, with the device there and the machine running. */
async function corrected(
  keeper: Keeper,
  dimm: { readonly id: string; readonly size: bigint },
  cause: unknown,
): Promise<Omit<Plugged, "id" | "size">> {
  // A lost machine is not asked again, and a half-written image is what has to be told.
  if (isLoss(cause) || isHalfWritten(cause)) throw new UnfinishedPlugError(dimm, false, cause);
  let result: Reconciled;
  try {
    result = await keeper.reconcile();
  } catch (error) {
    throw new UnfinishedPlugError(dimm, false, error);
  }
  const { after, installed } = result;
  if (!after.image || !isCorrectable(after.image) || !after.missing.isEmpty)
    throw new UnfinishedPlugError(dimm, false, new Error(after.reason, { cause }));
  return {
    pauseMicroseconds: installed?.pauseMicroseconds,
    bytesWritten: bytesWritten(installed?.writes ?? []),
    after,
  };
}

function isHalfWritten(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.some(isHalfWritten);
  return error instanceof ImageError && error.kind === "half-written";
}
