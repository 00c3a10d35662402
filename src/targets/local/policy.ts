/** What the installed rules, service and kernel of a machine would do to kdump on the next event, and how long it is blind then. */
import type { Audit } from "../../keeper/audit.ts";
import type { CrashHotplug, KernelSpec } from "../../rules/device.ts";
import type { Diagnostic } from "../../rules/diagnostic.ts";
import { RuleSet } from "../../rules/evaluate.ts";
import type { RuleSource } from "../../rules/source.ts";
import { type Exposure, exposuresOf } from "../../rules/exposure.ts";
import { type EventForecast, forecastEvents, type HotplugDevice } from "../../rules/forecast.ts";
import { findOwnRules, type OwnRules } from "../../rules/own-rule.ts";
import { isThere } from "./capture-facts.ts";
import { type KdumpFacts, readKdumpFacts } from "./facts.ts";
import { findHotplugDevices } from "./hotplug-devices.ts";
import { readInstalledRules } from "./installed-rules.ts";
import {
  findKdumpServices,
  findSystemCallFilter,
  type KdumpService,
  readActiveUnits,
  type SystemCallFilter,
} from "./kdump-service.ts";
import { type AskJournal, findLoadCost, type LoadCost } from "./load-cost.ts";
import { readWorld } from "./rules-world.ts";
import type { RootTree } from "./tree.ts";
import { findUdevVersion, type UdevVersion } from "./udev-version.ts";

/** The policy of a machine. */
export interface LocalPolicy {
  readonly udev: UdevVersion;
  /** Rule directories that were looked into. */
  readonly directories: readonly string[];
  /** Files of rules that udev reads, in its order. */
  readonly sources: readonly RuleSource[];
  readonly services: readonly KdumpService[];
  readonly facts: KdumpFacts;
  readonly devices: readonly HotplugDevice[];
  /** Bytes of a memory block; undefined where the machine has none. */
  readonly blockSize: bigint | undefined;
  readonly forecasts: readonly EventForecast[];
  readonly exposures: readonly Exposure[];
  readonly cost: LoadCost;
  readonly ownRules: OwnRules;
  /** Lines that udev drops, cuts or takes for something else than what is written. */
  readonly notUnderstood: readonly Diagnostic[];
  /** Files and directories that could not be read; sentences without a full stop. */
  readonly unread: readonly string[];
  /** Files of rules that another one of the same name takes the place of, and that would act on kdump. */
  readonly replaced: readonly { readonly path: string; readonly by: string }[];
  /** Where udev's workers cannot load a kernel, and programs that they run would have to. */
  readonly filter: SystemCallFilter | undefined;
  /** Programs of the rules that are not installed. */
  readonly missingPrograms: readonly string[];
}

const MEMORY = "/sys/devices/system/memory";

/**
 * Looks at the policy of the machine whose files `tree` has. Nothing is run but journalctl, which reads.
 *
 * @param audit - what is loaded, and whether its header has a note of every possible CPU.
 * @throws {LocalError} where a file of /sys does not hold what it should.
 */
export async function auditPolicy(
  tree: RootTree,
  audit: Pick<Audit, "cpus" | "image">,
  ask?: AskJournal,
): Promise<LocalPolicy> {
  const facts = await readKdumpFacts(tree);
  const udev = await findUdevVersion(tree);
  const { directories } = udev.dialect;
  const installed = await readInstalledRules(directories, tree.root);
  const rules = RuleSet.parse(installed.sources, udev.dialect);
  const devices = await findHotplugDevices(tree);
  const kernel = await readKernel(tree);
  const forecasts = forecastEvents(rules, devices, {
    crashLoaded: facts.crashLoaded,
    crashHotplug: { memory: attribute(facts.memoryHotplug), cpu: attribute(facts.cpuHotplug) },
    kernel,
    isActive: await readActiveUnits(tree),
    world: await readWorld(tree),
  });
  const { possible, described } = audit.cpus;
  const commands = forecasts.flatMap(({ effect }) => effect.commands);
  const filter = commands.some(({ detached }) => !detached) ? await findSystemCallFilter(tree) : undefined;
  return {
    udev,
    directories,
    sources: installed.sources,
    services: await findKdumpServices(tree),
    facts,
    devices,
    blockSize: kernel.blockSize,
    forecasts,
    exposures: exposuresOf(forecasts, {
      crashLoaded: facts.crashLoaded,
      kernelUpdates: { memory: facts.memoryHotplug === true, cpu: facts.cpuHotplug === true },
      describesAllCpus: audit.image !== undefined && possible !== undefined && described >= possible,
    }),
    cost: await findLoadCost(tree, ask),
    ownRules: findOwnRules(installed.sources, installed.hidden, forecasts),
    notUnderstood: rules.files.flatMap(({ diagnostics }) =>
      diagnostics.filter(({ severity }) => severity !== "style"),
    ),
    unread: installed.unread,
    replaced: installed.hidden
      .filter(({ text }) => /kdump|kexec/.test(text))
      .map(({ path, by }) => ({ path, by })),
    filter,
    missingPrograms: await findMissing(
      tree,
      commands.map(({ command }) => command),
    ),
  };
}

function attribute(says: boolean | undefined): CrashHotplug {
  if (says === undefined) return "absent";
  return says ? "1" : "0";
}

async function readKernel(tree: RootTree): Promise<Omit<KernelSpec, "crashHotplug">> {
  const size = (await tree.readText(`${MEMORY}/block_size_bytes`))?.trim() ?? "";
  const online = (await tree.readText(`${MEMORY}/auto_online_blocks`))?.trim();
  const ways = ["offline", "online", "online_kernel", "online_movable"] as const;
  return {
    blockSize: /^[0-9a-f]{1,16}$/i.test(size) ? BigInt(`0x${size}`) : undefined,
    autoOnline: ways.find((way) => way === online),
  };
}

/** Absolute paths in these commands that are not there; of a copy only where it is one of the whole system. */
async function findMissing(tree: RootTree, commands: readonly string[]): Promise<readonly string[]> {
  if (!tree.isLive && !(await isThere(tree, "/usr/bin/udevadm"))) return [];
  const paths = new Set(commands.flatMap((command) => command.match(/(?<=^|[\s'"])\/[\w./-]+/g) ?? []));
  const missing: string[] = [];
  for (const path of paths) if (!(await isThere(tree, path))) missing.push(path);
  return missing;
}
