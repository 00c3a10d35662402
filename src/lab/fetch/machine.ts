/** The machine that the lab runs on, as far as fetching is concerned. */
import { constants } from "node:fs";
import { access, readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, isAbsolute, join } from "node:path";
import { runProgram, type Run } from "./run.ts";

/** What fetching needs to know of the machine, so that a test can bring its own. */
export interface Machine {
  /** The directory that holds `os-release` and `apt/`. */
  readonly etc: string;
  /** The directories in which programs are looked for, in order. */
  readonly path: readonly string[];
  /** The effective user: 0 is root. */
  readonly uid: number;
  /** `process.arch`: Debian's kernels here are for `x64`. */
  readonly cpu: string;
  /** The directory that keeps what was fetched. */
  readonly cacheRoot: string;
  readonly run: Run;
}

/** This machine. `$XDG_CACHE_HOME` counts only where it is absolute (XDG base directories, "Environment variables"). */
export function thisMachine(): Machine {
  const xdg = process.env["XDG_CACHE_HOME"] ?? "";
  return {
    etc: "/etc",
    path: (process.env["PATH"] ?? "").split(delimiter).filter((directory) => directory !== ""),
    uid: process.geteuid?.() ?? -1,
    cpu: process.arch,
    cacheRoot: join(isAbsolute(xdg) ? xdg : join(homedir(), ".cache"), "kdump-hotplug"),
    run: runProgram,
  };
}

/** The path of a program, or undefined where none of the directories has it. */
export async function findProgram(machine: Machine, name: string): Promise<string | undefined> {
  for (const directory of machine.path) {
    const candidate = join(directory, name);
    try {
      await access(candidate, constants.X_OK);
      if ((await stat(candidate)).isFile()) return candidate;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/** `os-release` as far as it matters here. */
export interface Distribution {
  /** `ID`: `debian`. */
  readonly id: string;
  /** `VERSION_CODENAME`: `bookworm`; empty where there is none (Debian unstable). */
  readonly codename: string;
  /** `PRETTY_NAME`, for messages. */
  readonly name: string;
}

/** Reads `os-release` (os-release(5): shell assignments, optionally quoted). A machine without one is unknown. */
export async function readDistribution(machine: Machine): Promise<Distribution> {
  let text = "";
  try {
    text = await readFile(join(machine.etc, "os-release"), "utf8");
  } catch {
    // Unknown then, and said so by whoever needs to know.
  }
  const field = (name: string): string =>
    new RegExp(`^${name}=(?:"([^"]*)"|'([^']*)'|(.*))$`, "m").exec(text)?.slice(1).find(Boolean)?.trim() ??
    "";
  const id = field("ID");
  return { id, codename: field("VERSION_CODENAME"), name: field("PRETTY_NAME") || id || "an unknown system" };
}
