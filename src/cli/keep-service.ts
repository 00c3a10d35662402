/** `keep` of many targets: a service that waits for guests, and ends only when it is told to. */
import { Heartbeat } from "../keeper/heartbeat.ts";
import { Keeper, type Updated } from "../keeper/keeper.ts";
import type { Machine } from "../keeper/machine.ts";
import type { InstallLog } from "../keeper/install-log.ts";
import type { Journal } from "../keeper/journal/journal.ts";
import type { ServiceListener } from "../keeper/service-event.ts";
import { type JournalConfig, type ServiceConfig, ServiceConfigError } from "../keeper/service/config.ts";
import { Service } from "../keeper/service/service.ts";
import { serviceJson, serviceText } from "../report/service.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import {
  openServiceManager,
  type ServiceManager,
  startWatchdog,
} from "../targets/systemd/service-manager.ts";
import type { Context } from "./context.ts";
import { openControl } from "./control.ts";
import { EXIT } from "./exit.ts";
import { openJournalIn, openRecovered } from "./journaled.ts";
import { openTarget } from "./machine.ts";
import type { ReachOptions } from "./options.ts";
import { type MetricsSettings, openMetrics } from "./open-metrics.ts";
import { letHeapGrowSlowly } from "./small-heap.ts";
import { readConfig, sourceOf } from "./wanted-targets.ts";

/** What a service is started with. */
export interface ServiceSettings extends MetricsSettings, ReachOptions {
  readonly config?: string | undefined;
  /** Directory of the journal. */
  readonly journal?: string | undefined;
  readonly json?: true | undefined;
}

/** Where targets are open, one of them is looked at at least this often, ms: far more than any limit of a look. */
const LOOKS_LIMIT_MS = 120_000;
/** From SIGTERM on, ms; 2 s are promised, and the process has to end too. */
const STOP_LIMIT_MS = 1200;

/** `keep TARGET...` and `keep --config FILE`. @returns the exit code. */
export async function keepService(
  context: Context,
  targets: readonly string[],
  settings: ServiceSettings,
): Promise<number> {
  const { say, signal } = context;
  letHeapGrowSlowly();
  const config = await readConfig(settings.config);
  using manager = await openServiceManager();
  const looks = new Heartbeat(LOOKS_LIMIT_MS);
  const notAlive = (): string | undefined =>
    service.targets.some(({ state }) => state === "watched") ? looks.notAlive() : (looks.beat(), undefined);
  const wanted = { listen: settings.listen ?? config.listen, textfile: settings.textfile ?? config.textfile };
  await using journal = await openJournal(context, settings.journal, config.journal);
  await using metrics = await openMetrics(wanted, {
    version: context.version ?? "unknown",
    say,
    notAlive,
    ...(journal && { journalLag: () => journal.lag }),
  });
  const listeners = [printer(context, settings), ...(journal ? [journal] : []), ...metrics.listeners];
  const service = new Service({
    open: async (target, options) =>
      await openRecovered(context, target, journal, async () =>
        openTarget(context, target, options, "change", settings),
      ),
    source: (written) => sourceOf(written, say),
    makeKeeper: (target, machine) => new BeatingKeeper(machine, looks, journal?.installLog(target)),
    listeners,
    onTrouble: say,
  });
  const keep = ({ targets: more, lookEverySeconds }: ServiceConfig): void =>
    service.keep([...targets, ...more], lookEverySeconds && lookEverySeconds * 1000);
  // Whoever sees a target in what is printed may ask for it, or send a SIGHUP, at once.
  const control = await openControl(
    { ...context, journal },
    {
      targets: () => service.targets,
      kept: (target) => service.kept(target),
    },
  );
  using _ =
    settings.config === undefined ? undefined : rereads(context, settings.config, config, keep, manager);
  keep(config);
  metrics.discovered(() => service.targets.map(({ target }) => target));
  await manager.ready(statusOf(service));
  const watchdog = startWatchdog(manager, notAlive, say);
  await new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });
  watchdog[Symbol.dispose]();
  await manager.stopping("Lets go of its guests");
  // Commands first: they work on what is let go of then.
  const [late] = await Promise.all([service.stop(STOP_LIMIT_MS), control?.[Symbol.asyncDispose]()]);
  if (late.length > 0) say(`Not ended in time, and left as they are: ${late.join(", ")}`);
  return EXIT.interrupted;
}

/** What `systemctl status` shows. */
function statusOf(service: Service): string {
  return `Keeps ${service.targets.length} targets`;
}

/** Tells of each look that it came to an end, whatever it came to. */
class BeatingKeeper extends Keeper {
  readonly #looks: Heartbeat;

  constructor(machine: Machine, looks: Heartbeat, log: InstallLog | undefined) {
    super(machine, nodeSha256, {}, log);
    this.#looks = looks;
  }

  override async update(): Promise<Updated> {
    try {
      return await super.update();
    } finally {
      this.#looks.beat();
    }
  }
}

/** The journal that is wanted: by option, else by configuration. @throws {JournalBusyError} where another keeper writes it. */
async function openJournal(
  context: Context,
  directory: string | undefined,
  config: JournalConfig | undefined,
): Promise<Journal | undefined> {
  const options = directory === undefined ? config : { directory };
  return options && (await openJournalIn(context, options));
}

/** People, or programs, who read what is printed. */
function printer(context: Context, { json }: ServiceSettings): ServiceListener {
  return {
    onEvent: (event) => context.print(json ? `${JSON.stringify(serviceJson(event))}\n` : serviceText(event)),
  };
}

/** Reads the configuration again on each SIGHUP; one that cannot be used is refused, and the one before is kept. */
function rereads(
  context: Context,
  path: string,
  first: ServiceConfig,
  keep: (config: ServiceConfig) => void,
  manager: ServiceManager,
): Disposable | undefined {
  let reading = Promise.resolve();
  const reread = async (): Promise<void> => {
    await manager.reloading();
    let status = "Read its configuration again";
    try {
      const config = await readConfig(path);
      keep(config);
      context.say(`${path} was read again: ${config.targets.length} TARGETs`);
      const fixed = (["listen", "textfile", "journal"] as const).filter(
        (name) => JSON.stringify(config[name]) !== JSON.stringify(first[name]),
      );
      if (fixed.length > 0)
        context.say(
          `${path}: ${fixed.join(", ")} changed, which is read at the start only: restart keep for that`,
        );
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const known = error instanceof ServiceConfigError ? why : `${path}: ${why}`;
      context.say(`Refused, and the configuration before is kept: ${known}`);
      status = `Refused: ${known}`;
    }
    await manager.ready(status);
  };
  // One after the other: two signals in a row must not end with the older file.
  return context.onHangup?.(() => {
    reading = reading.then(reread).catch((error: unknown) => context.say(String(error)));
  });
}
