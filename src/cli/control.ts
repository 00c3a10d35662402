/** Lets commands of other processes work on the machines that this one keeps. */
import { type Kept, Lease } from "../keeper/service/kept.ts";
import { ControlError, ownControlDirectory } from "../targets/control/directory.ts";
import type { ListedTarget } from "../targets/control/protocol.ts";
import { type CommandOutput, ControlServer } from "../targets/control/server.ts";
import { keyOf } from "../targets/key.ts";
import { CARRIED } from "./by-keeper.ts";
import { type Context, Interrupted } from "./context.ts";
import { EXIT } from "./exit.ts";

/** What is kept here. */
export interface KeptTargets {
  targets(): readonly ListedTarget[];
  /** The open machine of a target, by its name. */
  kept(target: string): Kept | undefined;
}

/**
 * Opens the control socket. Where there can be none that is said, and guests are kept all the same.
 *
 * @returns ends it, and the commands that are under way.
 */
export async function openControl(
  context: Context,
  keeper: KeptTargets,
): Promise<AsyncDisposable | undefined> {
  const { directory, uid } = ownControlDirectory();
  try {
    return await ControlServer.open<Kept>(directory, uid, {
      targets: () => keeper.targets(),
      find: async (key) => await find(keeper, key),
      run: async (kept, args, output) => await carryOut(context, kept, args, output),
    });
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    context.say(`${error.message}; audit, plug and the like of what is kept here will find its socket busy`);
    return undefined;
  }
}

async function find(keeper: KeptTargets, key: string): Promise<Kept | undefined> {
  for (const { target } of keeper.targets())
    if (target === key || (await keyOf(target)) === key) return keeper.kept(target);
  return undefined;
}

/** Runs `args` as its own process would, but on the machine that is open here. */
async function carryOut(
  context: Context,
  kept: Kept,
  args: readonly string[],
  { print, say, signal }: CommandOutput,
): Promise<number> {
  if (context.run === undefined || !CARRIED.has(args[0] ?? "")) {
    say(`A keeper does not carry out ${JSON.stringify(args[0] ?? "")}: expected ${[...CARRIED].join(", ")}`);
    return EXIT.usage;
  }
  const interrupted = new AbortController();
  const onAbort = (): void => interrupted.abort(new Interrupted("Interrupted"));
  // The keeper's own end ends it too, before the connection to the guest is closed.
  const ends = [signal, context.signal];
  for (const each of ends) each.addEventListener("abort", onAbort, { once: true });
  if (ends.some(({ aborted }) => aborted)) onAbort();
  const machine = async (): Promise<Lease> => await Lease.take(kept, interrupted.signal);
  try {
    const { journal } = context;
    return await context.run(args, { print, say, signal: interrupted.signal, machine, journal });
  } finally {
    for (const each of ends) each.removeEventListener("abort", onAbort);
  }
}
