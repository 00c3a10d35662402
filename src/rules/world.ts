/** What rules ask of the world beside the device: inputs of the evaluation, for nothing is run or read here. */
import type { UdevDevice } from "./device.ts";

/** How a program ended. */
export interface ProgramResult {
  /** Exit status; 0 is success. */
  readonly exit: number;
  readonly stdout: string;
}

/** Answers, where they are known; undefined leaves it to the stated assumption. */
export interface World {
  /** What PROGRAM and IMPORT{program} would get from `command`, its substitutions done. */
  readonly program: (command: string) => ProgramResult | undefined;
  /** What an IMPORT{builtin} would give: properties as lines `KEY=VALUE`. */
  readonly builtin: (command: string) => ProgramResult | undefined;
  /** A text file, for IMPORT{file}; null: there is no such file. */
  readonly readFile: (path: string) => string | null | undefined;
  /** `st_mode` of a path, for TEST; null: there is no such file. Attributes are files in any case. */
  readonly fileMode: (path: string) => number | null | undefined;
  /** A device, for `[subsystem/sysname]`; null: there is none. */
  readonly device: (subsystem: string, sysname: string) => UdevDevice | null | undefined;
  /** CONST{name}. */
  readonly constant: (name: string) => string | undefined;
  /** SYSCTL{name}, with dots or slashes as written; null: there is none. */
  readonly sysctl: (name: string) => string | null | undefined;
  /** A property that udev's database has from an earlier event; null: it has none. */
  readonly database: (name: string) => string | null | undefined;
  /** A word of the kernel command line: its value, "" for a bare word; null: it is not there. */
  readonly commandLine: (name: string) => string | null | undefined;
}

/** What programs and builtins are taken to do where no result is given. */
export type UnknownProgram = "succeeds" | "fails";

/** Something that was decided without being known. */
export interface Assumption {
  readonly path: string;
  readonly line: number;
  /** A sentence: what was taken for true. */
  readonly text: string;
}

/** A world in which nothing is known. */
export const NOTHING_KNOWN: World = {
  program: () => undefined,
  builtin: () => undefined,
  readFile: () => undefined,
  fileMode: () => undefined,
  device: () => undefined,
  constant: () => undefined,
  sysctl: () => undefined,
  database: () => undefined,
  commandLine: () => undefined,
};

/** A world that knows the results of some commands: by the whole command, or by its program's path or base name. */
export function worldOfPrograms(
  results: ReadonlyMap<string, ProgramResult>,
  world: World = NOTHING_KNOWN,
): World {
  return {
    ...world,
    program: (command) => {
      const [program = ""] = command.trim().split(/\s/, 1);
      return (
        results.get(command) ??
        results.get(program) ??
        results.get(program.slice(program.lastIndexOf("/") + 1)) ??
        world.program(command)
      );
    },
  };
}
