/** The core header of a machine of bytes before a run in virtual time and after it. */
import type { CoreHeader } from "../../elfcore/header.ts";
import { locateImage } from "../../image/locate.ts";
import type { Replay } from "../../simulation/world/replay.ts";
import type { RunOptions, TimedChange } from "../../simulation/world/run.ts";
import { nodeSha256 } from "../sha256.ts";
import { SimulatedTarget } from "./machine.ts";
import { replayOf } from "./panics.ts";

/** Both headers. */
export interface HeadersAround {
  readonly before: CoreHeader;
  readonly after: CoreHeader;
}

/** The load at boot, and the keeper's first look at it, are from before the run. */
const BOOT: readonly TimedChange["change"]["kind"][] = ["snapshot", "load", "rewrite"];

/** Makes the changes of `trace` to a machine of bytes. @returns undefined where nothing is loaded at its end. */
export async function headersAround(
  options: Pick<RunOptions, "scenario" | "kernel" | "call">,
  trace: readonly TimedChange[],
): Promise<HeadersAround | undefined> {
  const replay = replayOf(options);
  const start = trace.findIndex(({ change }) => !BOOT.includes(change.kind));
  for (const { change } of trace.slice(0, start < 0 ? trace.length : start)) await replay.apply(change);
  const before = await headerOf(replay);
  for (const { change } of start < 0 ? [] : trace.slice(start)) await replay.apply(change);
  const after = await headerOf(replay);
  return before && after && { before, after };
}

async function headerOf({ machine }: Replay): Promise<CoreHeader | undefined> {
  const { memory } = new SimulatedTarget("sim:replay", machine);
  const location = await locateImage(memory, nodeSha256);
  return location.found === "image" ? location.image.header : undefined;
}
