/**
 * What the policies' scripts write down in the guest, one line for each thing, in /run/lab/log.
 *
 *     start COMMAND                          handed to what stands in for PID 1
 *     end STATUS                             and ended
 *     reload START UNLOADED END UNLOAD LOAD  seconds of the guest's uptime (hundredths); two exit statuses
 *     throttled                              left to a throttler, or a load, that will see this event too
 *     skipped                                nothing was loaded, so nothing was reloaded
 *     settle STATUS                          of `udevadm settle`: 0, or 1 where its time was up
 *     failed WHAT STATUS
 */
import { MeasurementError } from "../errors.ts";

/** Where a guest has its log. */
export const LOG_PATH = "/run/lab/log";

/** One reload, times in milliseconds of the guest's uptime, in steps of 10. */
export interface Reload {
  readonly start: number;
  /** When the unload had ended; equal to `start` where there is none. */
  readonly unloaded: number;
  readonly end: number;
}

/** The log as a whole. */
export interface PolicyLog {
  readonly reloads: readonly Reload[];
  readonly throttled: number;
  readonly skipped: number;
  /** Commands handed to PID 1's stand-in that have not ended. */
  readonly running: number;
  /** One clause for each exit status that is not what it should be. */
  readonly failures: readonly string[];
}

/**
 * Reads a log.
 *
 * @throws {MeasurementError} where a line is none of those above.
 */
export function parsePolicyLog(text: string): PolicyLog {
  const reloads: Reload[] = [];
  const failures: string[] = [];
  const counts = { throttled: 0, skipped: 0, start: 0, end: 0 };
  for (const line of text.split("\n").filter((each) => each !== "")) {
    const [kind, ...words] = line.split(" ");
    const reload = /^reload (\d+\.\d+) (\d+\.\d+) (\d+\.\d+) (\d+) (\d+)$/.exec(line);
    if (reload) {
      const [start = 0, unloaded = 0, end = 0] = reload.slice(1, 4).map((seconds) => Number(seconds) * 1000);
      reloads.push({ start, unloaded, end });
      if (reload[4] !== "0") failures.push(`an unload ended with status ${reload[4]}`);
      if (reload[5] !== "0") failures.push(`a load ended with status ${reload[5]}`);
    } else if (kind === "throttled" || kind === "skipped" || kind === "start" || kind === "end") {
      counts[kind]++;
      if (kind === "end" && words[0] !== "0")
        failures.push(`a detached command ended with status ${words[0]}`);
    } else if (kind === "settle") {
      if (words[0] !== "0" && words[0] !== "1") failures.push(`udevadm settle ended with status ${words[0]}`);
    } else if (kind === "failed") {
      failures.push(words.join(" "));
    } else {
      throw new MeasurementError(`Read ${JSON.stringify(line.slice(0, 80))} in the guest's ${LOG_PATH}`);
    }
  }
  const { throttled, skipped, start, end } = counts;
  return { reloads, throttled, skipped, running: start - end, failures };
}
