/** Whether this is the program in one file, `kdump-hotplug.mjs`. */

/** Which program it is: written by scripts/build-info.mjs when it is built. */
export interface BuildInfo {
  /** Of package.json. */
  readonly version: string;
  /** 40 hex digits; undefined where the sources came without git and without the name of a commit. */
  readonly commit: string | undefined;
  /** Whether the sources differed from the commit. */
  readonly modified: boolean;
}

/** What the one file knows of itself, because it has no other file beside it. */
export interface Bundle {
  readonly build: BuildInfo;
  /** The first argument with which the file is the process that watches over pauses. */
  readonly pauseWatcherWord: string;
}

/** Undefined in the built program of many files. In the one file, scripts/bundle.mjs has put another module here. */
export const BUNDLE: Bundle | undefined = undefined;
