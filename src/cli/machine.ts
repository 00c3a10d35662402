/** Opens the machine of a TARGET for one command, and lets go of it properly on Ctrl-C. */
import type { PluggableMachine, UnpluggableMachine, WatchedMachine } from "../keeper/machine.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { QemuMachine } from "../targets/qemu/machine.ts";
import { SimulatedTarget } from "../targets/simulated/machine.ts";
import { parseTarget, TargetError } from "../targets/target.ts";
import type { Context } from "./context.ts";
import type { ReachOptions } from "./options.ts";

/** A machine that a command works on, whatever kind it is. */
export interface OpenMachine extends PluggableMachine, UnpluggableMachine, WatchedMachine, AsyncDisposable {
  /**
   * Lets a pause that is under way come to its end, and permits no other one. For Ctrl-C.
   */
  interrupt(): Promise<void>;
}

/** What a command does with a machine: one that changes it keeps other keepers away from it. */
export type Purpose = "look" | "change";

/**
 * Runs `work` on the machine that `target` names.
 *
 * On Ctrl-C a pause that is under way ends first, then the connection is closed and `work` ends with an error.
 * What that error is does not matter, except where the guest could not be brought back: see `run`.
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
  { throughQemu }: ReachOptions,
): Promise<OpenMachine> {
  const target = parseTarget(text);
  switch (target.kind) {
    case "qmp":
      return await QemuMachine.open(target.path, {
        signal: context.signal,
        alone: purpose === "change",
        access: throughQemu ? "gdb" : "auto",
      });
    case "local":
      throw new TargetError(
        "From inside a machine only audit, inspect, keep and load are possible: nobody can stop the machine that they run in; give qmp:PATH of a guest",
      );
    case "sim":
      return SimulatedTarget.open(target.text, target.spec, nodeSha256);
  }
}
