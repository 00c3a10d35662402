/** Keeps the machine that the program runs in. */
import { InsideKeeper } from "../keeper/inside.ts";
import type { TargetEvent } from "../keeper/service-event.ts";
import {
  insideLoadedJson,
  insideLoadedText,
  insideReconciledJson,
  insideReconciledText,
  insideStepJson,
  insideStepText,
} from "../report/inside.ts";
import { INSIDE_INSTALLS } from "../report/watch.ts";
import { overridesJson, overridesText } from "../report/overrides.ts";
import type { GivenCapture } from "../targets/local/capture-files.ts";
import { LocalInside } from "../targets/local/inside.ts";
import { kexecMissing, kexecRefusals } from "../targets/local/kexec-permission.ts";
import { KexecRefusedError } from "../targets/local/kexec-error.ts";
import { LocalMachine } from "../targets/local/machine.ts";
import type { AskJournal } from "../targets/local/load-cost.ts";
import { planOverrides, removeOverrides, writeOverrides } from "../targets/local/override-rules.ts";
import { auditPolicy } from "../targets/local/policy.ts";
import { RootTree } from "../targets/local/tree.ts";
import { loadSystemCalls, type SystemCalls } from "../targets/local/system-calls.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { LOCAL } from "../targets/target.ts";
import { type Context, printJson } from "./context.ts";
import { EXIT, exitOfVerdict, UsageError } from "./exit.ts";
import { openJournalIn } from "./journaled.ts";
import { openMetrics } from "./open-metrics.ts";
import { hintsOf, type ReachOptions, type RootOptions, type WhereOptions } from "./options.ts";
import { keepHeapSmall } from "./small-heap.ts";
import { eventPrinter, watchUntilInterrupted } from "./watching.ts";

/** Options of `keep`. */
export interface KeepOptions extends WhereOptions, GivenCapture, RootOptions, ReachOptions {
  readonly config?: string;
  readonly journal?: string;
  readonly listen?: string;
  readonly textfile?: string;
  readonly once?: true;
  readonly dryRun?: true;
  readonly install?: true;
  readonly uninstall?: true;
  readonly json?: true;
}

/** Milliseconds between two looks where nothing tells of a change: who loads another image tells nobody. */
const LOOK_EVERY_MS = 5000;
/** Milliseconds between two hashes of the whole image where nothing changes. */
const VERIFY_EVERY_MS = 600_000;

/** `load local`. @returns the exit code. */
export async function loadLocal(
  context: Context,
  options: GivenCapture & { readonly json?: true },
): Promise<number> {
  await using machine = new LocalMachine({ signal: context.signal });
  const { keeper } = await openInside(context, machine, options);
  const result = await keeper.load();
  if (options.json) printJson(context, insideLoadedJson(LOCAL, result));
  else context.print(insideLoadedText(LOCAL, result));
  return exitOfVerdict(result.after.verdict);
}

/** The agent of this machine. */
async function openInside(
  context: Context,
  machine: LocalMachine,
  options: KeepOptions,
): Promise<{ readonly inside: LocalInside; readonly keeper: InsideKeeper }> {
  machine.checkSupported();
  const inside = new LocalInside(machine, options.dryRun ? NO_CALLS : await loadSystemCalls(), {
    sha256: nodeSha256,
    capture: options,
    signal: context.signal,
    onTrouble: context.say,
  });
  return { inside, keeper: new InsideKeeper(inside, nodeSha256, { hints: hintsOf(options) }) };
}

/** `keep local`. @returns the exit code. */
export async function keepLocal(context: Context, options: KeepOptions): Promise<number> {
  if (options.install || options.uninstall) return await changeRules(context, options);
  if (options.root !== undefined)
    throw new UsageError("--root is for --install and --uninstall: another machine's image cannot be kept");
  await using machine = new LocalMachine({ signal: context.signal });
  const { inside, keeper } = await openInside(context, machine, options);
  if (options.dryRun) {
    const { before, step } = await keeper.plan();
    if (options.json) printJson(context, insideStepJson(LOCAL, before, step));
    else context.print(insideStepText(LOCAL, before, step));
    return exitOfVerdict(before.verdict);
  }
  await refuseWithoutPermission(machine);
  keepHeapSmall();
  return await withListeners(context, options, async (tell) => {
    tell({ kind: "found" });
    if (options.once) {
      const result = await keeper.reconcile();
      const { before, after, installed } = result;
      if (installed) tell({ kind: "installed", before, installed, reactionMs: undefined });
      tell({ kind: "verdict", audit: after });
      if (options.json) printJson(context, insideReconciledJson(LOCAL, result));
      else context.print(insideReconciledText(LOCAL, result));
      return exitOfVerdict(after.verdict);
    }
    const print = eventPrinter(context, LOCAL, options, INSIDE_INSTALLS);
    await watchUntilInterrupted(inside, keeper, {
      onEvent: (event) => {
        tell(event);
        print(event);
      },
      signal: context.signal,
      lookEveryMs: LOOK_EVERY_MS,
      verifyEveryMs: VERIFY_EVERY_MS,
    });
    return EXIT.interrupted;
  });
}

/** Runs `work`, which tells what happens to the journal and the metrics that are wanted. */
async function withListeners<T>(
  context: Context,
  { journal: directory, listen, textfile }: KeepOptions,
  work: (tell: (event: TargetEvent) => void) => Promise<T>,
): Promise<T> {
  await using journal = directory === undefined ? undefined : await openJournalIn(context, { directory });
  await using metrics = await openMetrics(
    { listen, textfile },
    {
      version: context.version ?? "unknown",
      say: context.say,
      notAlive: () => undefined,
      ...(journal && { journalLag: () => journal.lag }),
    },
  );
  metrics.discovered(() => [LOCAL]);
  return await work((event) => {
    for (const listener of [journal, ...metrics.listeners])
      listener?.onEvent({ target: LOCAL, at: Date.now(), event });
  });
}

/** `keep local --install` and `--uninstall`. @returns the exit code. */
async function changeRules(context: Context, options: KeepOptions): Promise<number> {
  const { root, dryRun, install, uninstall, json } = options;
  if (install && uninstall) throw new UsageError("Give either --install or --uninstall");
  const tree = new RootTree(root);
  const overrides = install ? planOverrides(await auditPolicy(tree, NOTHING_SEEN, askNobody)) : [];
  if (!dryRun) await writeOverrides(overrides, tree);
  const removed = uninstall && !dryRun ? await removeOverrides(UDEV_RULES, tree) : [];
  if (json) printJson(context, overridesJson(overrides, removed));
  else
    context.print(overridesText(overrides, removed, { install: install === true, dryRun: dryRun === true }));
  return EXIT.yes;
}

/** Where udev reads first; every dialect names it. */
const UDEV_RULES = "/etc/udev/rules.d";
/** What is loaded does not matter to what the rules do. */
const NOTHING_SEEN = {
  image: undefined,
  cpus: {
    present: 0,
    described: 0,
    possible: undefined,
    missing: [],
    undescribed: [],
    unknown: undefined,
  },
} as const;

/** Nor does what a load costs, for which the journal would be searched. */
const askNobody: AskJournal = async () => ({ failed: "nobody was asked" });

/** Who only asks what would be done needs none. */
const NO_CALLS: SystemCalls = {
  invoke: refuse,
  addressOf: refuse,
  copy: refuse,
  whenReadable: refuse,
};

function refuse(): never {
  throw new KexecRefusedError("Nothing is called where it is only asked what would be done");
}

/** @throws {KexecRefusedError} where neither way to load an image is there and permitted: nothing could ever be corrected. */
async function refuseWithoutPermission({ tree }: LocalMachine): Promise<void> {
  const missing = await kexecMissing(tree);
  const refusals = missing === undefined ? await kexecRefusals(tree, "kexec_file_load") : [missing];
  if (refusals.length > 0)
    throw new KexecRefusedError(
      `Cannot keep this machine's header true: ${refusals.join("; ")}; kdump-hotplug audit local says whether it is`,
    );
}

/** @throws {UsageError} where an option that only `local` takes was given for another target. */
export function refuseInsideOptions(
  target: string,
  { dryRun, install, uninstall, root, kernel, initrd, commandLine }: KeepOptions,
): void {
  const given = Object.entries({
    "--dry-run": dryRun,
    "--install": install,
    "--uninstall": uninstall,
    "--root": root,
    "--kernel": kernel,
    "--initrd": initrd,
    "--command-line": commandLine,
  })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name);
  if (given.length > 0)
    throw new UsageError(
      `${given.join(", ")}: only for the target local; ${JSON.stringify(target)} is corrected from outside, and nothing is loaded into it: leave it out`,
    );
}
