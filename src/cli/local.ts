/** Looks at the machine that the program runs in, or at a copied tree of one. */
import { stat } from "node:fs/promises";
import { type LocalAudit, auditLocal } from "../targets/local/audit.ts";
import { LocalError } from "../targets/local/error.ts";
import { journalctl } from "../targets/local/load-cost.ts";
import { LocalMachine } from "../targets/local/machine.ts";
import { auditPolicy, type LocalPolicy } from "../targets/local/policy.ts";
import { RootTree } from "../targets/local/tree.ts";
import { codeOf } from "../targets/qemu/unix-socket.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./exit.ts";
import { hintsOf, type PolicyOptions, type RootOptions, type WhereOptions } from "./options.ts";

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

/** `audit local --policy`: what would be done on the next event, or in a sentence why that cannot be told. */
export async function lookAtPolicy(
  { signal }: Context,
  { root }: RootOptions,
  audit: LocalAudit,
): Promise<LocalPolicy | { readonly unknown: string }> {
  try {
    return await auditPolicy(new RootTree(root), audit, journalctl(signal));
  } catch (error) {
    // The audit is known, and is not to be lost with a directory that this user may not list.
    const isOfAFile = error instanceof LocalError || (!signal.aborted && codeOf(error) !== "");
    if (error instanceof Error && isOfAFile) return { unknown: error.message };
    throw error;
  }
}

/** @throws {UsageError} where a root directory, or the policy, was asked for with another target than `local`. */
export function refuseLocalOptions(target: string, { root, policy }: RootOptions & PolicyOptions): void {
  if (policy)
    throw new UsageError(
      `--policy is of the machine that this runs in, and ${JSON.stringify(target)} is seen from outside: leave it out`,
    );
  if (root !== undefined)
    throw new UsageError(
      `--root is where the files of the target local are, and ${JSON.stringify(target)} has none: leave it out`,
    );
}

async function isDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() === true;
}
