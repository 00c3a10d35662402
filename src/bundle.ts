/** Whether this is the program in one file, `kdump-hotplug.mjs`. */
import type { BuildInfo } from "./cli/build-info.ts";

/** What the one file knows of itself, because it has no other file beside it. */
export interface Bundle {
  readonly build: BuildInfo;
  /** The first argument with which the file is the process that watches over pauses. */
  readonly pauseWatcherWord: string;
}

/** Undefined in the built program of many files. In the one file, scripts/bundle.mjs has put another module here. */
export const BUNDLE: Bundle | undefined = undefined;
