/** Opens the machine of a TARGET for one command, and lets go of it properly on Ctrl-C. */
import type { ServedMachine } from "../keeper/service/kept.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { QemuMachine } from "../targets/qemu/machine.ts";
import { SimulatedTarget } from "../targets/simulated/machine.ts";
import { parseTarget, TargetError } from "../targets/target.ts";
import { byKeeper } from "./by-keeper.ts";
import type { Context } from "./context.ts";
import { pauseWatcher } from "./journaled.ts";
import type { ReachOptions } from "./options.ts";

/** A machine that a command works on, whatever kind it is. */
export type OpenMachine = ServedMachine;

/** What a command does with a machine: one that changes it keeps other keepers away from it. */
export type Purpose = "look" | "change";

/**
 * Runs `work` on the machine that `target` names.
 *
 * On Ctrl-C a pause that is under way ends first, then the connection is closed and `work` ends with an error.
 * What that error is does not matter, except where the guest could not be brought back: see `run`.
 *
 * @throws {CarriedOut} where a keeper has the machine: then it did the command's work.
 */
export async function withMachine<T>(
  context: Context,
  target: string,
  purpose: Purpose,
  reach: ReachOptions,
  work: (machine: OpenMachine) => Promise<T>,
): Promise<T> {
  await using machine = await openMachine(context, target, purpose, reach);
  // Ctrl-C while it was opened came too early for the listener below.
  context.signal.throwIfAborted();
  // What goes wrong in closing goes wrong in `work` too, and is told there.
  const interrupt = (): void => void machine.interrupt().catch(() => undefined);
  context.signal.addEventListener("abort", interrupt, { once: true });
  try {
    return await work(machine);
  } finally {
    context.signal.removeEventListener("abort", interrupt);
  }
}

async function openMachine(
  context: Context,
  text: string,
  purpose: Purpose,
  reach: ReachOptions,
): Promise<OpenMachine> {
  // Before anybody is asked: what cannot be understood is told by who was given it.
  parseTarget(text);
  if (context.machine) return await context.machine();
  await byKeeper(context, text);
  return await openTarget(context, text, { signal: context.signal }, purpose, reach);
}

/** Opens the machine that `text` names, for one who closes it. */
export async function openTarget(
  context: Context,
  text: string,
  options: { readonly signal: AbortSignal; readonly pollEveryMs?: () => number },
  purpose: Purpose = "change",
  { throughQemu }: ReachOptions = {},
): Promise<OpenMachine> {
  const target = parseTarget(text);
  const access = throughQemu ? "gdb" : "auto";
  const common = {
    ...options,
    alone: purpose === "change",
    access,
    pauseWitness: purpose === "change" ? pauseWatcher(context) : undefined,
  } as const;
  switch (target.kind) {
    case "qmp":
      return await QemuMachine.open(target.path, common);
    case "libvirt": {
      const { openLibvirtMachine } = await import("../targets/libvirt/machine.ts");
      return await openLibvirtMachine(target.domain, common);
    }
    case "libvirt-all":
      throw new TargetError(
        "libvirt:* stands for every domain that runs, and this works on one machine: give libvirt:DOMAIN",
      );
    case "local":
      throw new TargetError(
        "From inside a machine only audit, inspect, keep and load are possible: nobody can stop the machine that they run in; give qmp:PATH of a guest",
      );
    case "sim":
      return SimulatedTarget.open(target.text, target.spec, nodeSha256);
  }
}
