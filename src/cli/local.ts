/** Looks at the machine that the program runs in, or at a copied tree of one. */
import { stat } from "node:fs/promises";
import { type LocalAudit, auditLocal } from "../targets/local/audit.ts";
import { LocalMachine } from "../targets/local/machine.ts";
import { RootTree } from "../targets/local/tree.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./exit.ts";
import { hintsOf, type RootOptions, type WhereOptions } from "./options.ts";

/** `audit local`, and what `inspect local` shows of it. */
export async function lookAtLocal(
  context: Context,
  options: WhereOptions & RootOptions,
): Promise<LocalAudit> {
  const { root } = options;
  if (root !== undefined && !(await isDirectory(root)))
    throw new UsageError(`There is no directory ${root}: give one that has a machine's proc and sys in it`);
  await using machine = new LocalMachine({ tree: new RootTree(root), signal: context.signal });
  return await auditLocal(machine, nodeSha256, hintsOf(options));
}

/** @throws {UsageError} where a root directory was given for another target than `local`. */
export function refuseRoot(target: string, { root }: RootOptions): void {
  if (root !== undefined)
    throw new UsageError(
      `--root is where the files of the target local are, and ${JSON.stringify(target)} has none: leave it out`,
    );
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() === true;
}
