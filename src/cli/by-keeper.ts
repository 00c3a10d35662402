/** Commands on a guest whose QMP socket a keeper holds are carried out by that keeper. */
import { runByKeeper } from "../targets/control/client.ts";
import { ownControlDirectory } from "../targets/control/directory.ts";
import { keyOf } from "../targets/key.ts";
import { CarriedOut, type Context } from "./context.ts";

/** What a keeper does for others; it does not keep for them. */
export const CARRIED: ReadonlySet<string> = new Set(["audit", "inspect", "plug", "unplug"]);

/**
 * Nothing where no keeper has `target`, or the command is not one that keepers carry out.
 *
 * @throws {CarriedOut} where a keeper did it; {ControlError} where it could not come to its end.
 */
export async function byKeeper(context: Context, target: string): Promise<void> {
  const { args } = context;
  const key = await keyOf(target);
  if (args?.[0] === undefined || !CARRIED.has(args[0]) || key === undefined) return;
  const { directory, uid } = ownControlDirectory();
  const code = await runByKeeper(directory, uid, key, args, context);
  if (code !== undefined) throw new CarriedOut(code);
}
