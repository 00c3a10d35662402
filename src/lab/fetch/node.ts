/** The Node that runs here, for a guest, and our own built program with it. */
import { realpath } from "node:fs/promises";
import { dirname } from "node:path";
import * as v from "valibot";
import { readInterpreter } from "./elf.ts";
import { FetchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import { ownProgram } from "./own-program.ts";
import { command, installedFile, installedParts, type Program, type SuppliedFile } from "./program.ts";

/** Node and our program. */
export interface NodeSupply {
  /** `20.19.2`. */
  readonly version: string;
  /** Node's path, as in `guestPath`. */
  readonly binary: string;
  /** Its loader's path, as in `guestPath`. */
  readonly loader: string;
  /** Node, its loader and libraries, as on this machine: a guest has each below a directory of its own. */
  readonly files: readonly SuppliedFile[];
  /** Pieces of Node's own library that a distribution's Node reads from fixed places: a guest has them there. */
  readonly builtins: readonly SuppliedFile[];
  /** Our program, where a guest has it. */
  readonly program: readonly SuppliedFile[];
}

/** Which Node and which program are taken: the ones that run, unless told. */
export interface NodeOptions {
  /** Absolute. */
  readonly execPath?: string | undefined;
  /** The directory of our package.json. */
  readonly root?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds what a guest needs to run our program. Nothing is copied: what is there now is what a guest gets.
 *
 * @throws {FetchError} where this Node cannot run in a guest (another processor, static, a loader that is not glibc's),
 * or our program is not built, or its packages are not installed.
 */
export async function installedNode(machine: Machine, options: NodeOptions = {}): Promise<NodeSupply> {
  const { execPath = process.execPath, root, signal } = options;
  if (machine.cpu !== "x64")
    throw new FetchError(`the lab's guests are x86-64, but ${execPath} is a Node for ${machine.cpu}`);
  const binary = await realpath(execPath).catch((cause: unknown) => {
    throw new FetchError(cause instanceof Error ? cause.message : String(cause), { cause });
  });
  const interpreter = await readInterpreter(binary);
  if (interpreter === undefined) {
    throw new FetchError(
      `${binary} is static: it cannot load native packages, so a guest would not run what runs here; run the lab with a dynamically linked Node`,
    );
  }
  const { loader, libraries } = await installedParts(machine, binary, signal);
  const directories = [...new Set(libraries.map(({ guestPath }) => dirname(guestPath)))];
  const { version, builtins } = await ask(machine, { loader: interpreter, binary, directories }, signal);
  return {
    version,
    binary,
    loader: interpreter,
    files: [{ guestPath: binary, hostPath: binary }, ...(loader ? [loader] : []), ...libraries],
    builtins: await Promise.all(builtins.map(installedFile)),
    program: await ownProgram(root),
  };
}

const DescriptionSchema = v.object({ version: v.string(), defines: v.array(v.string()) });
/** Asked of Node itself. `defines` is how it was compiled. */
const SCRIPT =
  "JSON.stringify({ version: process.versions.node, defines: process.config.target_defaults?.defines ?? [] })";
/** Debian's Node has these, and aborts where one cannot be read (`--shared-builtin-*-path` of Node's configure.py). */
const BUILTIN = /^NODE_SHARED_BUILTIN_\w+_PATH=(\/.+)$/;

/** Starts Node the way a guest does, so that one that cannot be started in this way is found here. */
async function ask(
  machine: Machine,
  program: Program,
  signal: AbortSignal | undefined,
): Promise<{ readonly version: string; readonly builtins: readonly string[] }> {
  const { loader, binary } = program;
  const [executable, args] = command(program, "--print", SCRIPT);
  const purpose = `${binary} by its loader`;
  const { code, stdout, stderr } = await machine.run(executable, args, { purpose, limitSeconds: 30, signal });
  const read = code === 0 ? v.safeParse(DescriptionSchema, parse(stdout)) : undefined;
  if (!read?.success) {
    const why = stderr.trim().split("\n")[0] || `it printed ${JSON.stringify(stdout.slice(0, 80))}`;
    throw new FetchError(`${binary} does not run when its loader ${loader} starts it: ${why}`);
  }
  const { version, defines } = read.output;
  return { version, builtins: defines.flatMap((define) => BUILTIN.exec(define)?.[1] ?? []) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
