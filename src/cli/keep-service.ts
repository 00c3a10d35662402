/** `keep` of many targets: a service that waits for guests, and ends only when it is told to. */
import { readFile } from "node:fs/promises";
import { Keeper } from "../keeper/keeper.ts";
import type { ServiceListener } from "../keeper/service-event.ts";
import { parseServiceConfig, type ServiceConfig, ServiceConfigError } from "../keeper/service/config.ts";
import { Service } from "../keeper/service/service.ts";
import { named, type TargetSource } from "../keeper/service/source.ts";
import { serviceJson, serviceText } from "../report/service.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { isPattern, socketSource } from "../targets/qemu/socket-source.ts";
import { LOCAL, parseTarget, TargetError } from "../targets/target.ts";
import type { Context } from "./context.ts";
import { openControl } from "./control.ts";
import { EXIT, UsageError } from "./exit.ts";
import { openTarget } from "./machine.ts";

/** What a service is started with. */
export interface ServiceSettings {
  readonly config?: string | undefined;
  readonly json?: true | undefined;
}

/** From SIGTERM on, ms; 2 s are promised, and the process has to end too. */
const STOP_LIMIT_MS = 1200;

/** Whether `targets` are kept as a service: lost guests are waited for, and others may come. */
export function isService(targets: readonly string[], config: string | undefined): boolean {
  return config !== undefined || targets.length > 1 || targets.some(isPatternTarget);
}

function isPatternTarget(target: string): boolean {
  return target.startsWith("qmp:") && isPattern(target.slice("qmp:".length));
}

/** Where the targets that `written` stands for come from. @throws {TargetError} where it cannot be understood. */
export function sourceOf(written: string, say: (line: string) => void): TargetSource {
  if (written === LOCAL)
    throw new TargetError(
      "A service keeps guests from outside, and local is kept from inside: run keep local beside it, as a service of its own",
    );
  const target = parseTarget(written);
  return target.kind === "qmp" ? socketSource(target.path, { onTrouble: say }) : named(written);
}

/** `keep TARGET...` and `keep --config FILE`. @returns the exit code. */
export async function keepService(
  context: Context,
  targets: readonly string[],
  settings: ServiceSettings,
): Promise<number> {
  const { say, signal } = context;
  const config = await readConfig(settings.config);
  const listeners = await openListeners(context, config, settings);
  const service = new Service({
    open: async (target, options) => await openTarget(context, target, options),
    source: (written) => sourceOf(written, say),
    makeKeeper: (_, machine) => new Keeper(machine, nodeSha256),
    listeners,
    onTrouble: say,
    lookEveryMs: lookEveryOf(config),
  });
  const keep = ({ targets: more, lookEverySeconds }: ServiceConfig): void =>
    service.keep([...targets, ...more], lookEverySeconds && lookEverySeconds * 1000);
  keep(config);
  const control = await openControl(context, {
    targets: () => service.targets,
    kept: (target) => service.kept(target),
  });
  using _ = settings.config === undefined ? undefined : rereads(context, settings.config, config, keep);
  await new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });
  // Commands first: they work on what is let go of then.
  const [late] = await Promise.all([service.stop(STOP_LIMIT_MS), control?.[Symbol.asyncDispose]()]);
  if (late.length > 0) say(`Not ended in time, and left as they are: ${late.join(", ")}`);
  return EXIT.interrupted;
}

/** Who hears of what happens. Journal and metrics belong here. */
async function openListeners(
  context: Context,
  config: ServiceConfig,
  { json }: ServiceSettings,
): Promise<readonly ServiceListener[]> {
  const unknown = (["listen", "textfile", "journal"] as const).filter((name) => config[name] !== undefined);
  if (unknown.length > 0)
    throw new UsageError(
      `${unknown.join(", ")}: this version has no metrics and no journal yet; leave it out`,
    );
  return [
    {
      onEvent: (event) =>
        context.print(json ? `${JSON.stringify(serviceJson(event))}\n` : serviceText(event)),
    },
  ];
}

function lookEveryOf({ lookEverySeconds }: ServiceConfig): number | undefined {
  return lookEverySeconds === undefined ? undefined : lookEverySeconds * 1000;
}

/** @throws {ServiceConfigError}; what reading the file throws. */
export async function readConfig(path: string | undefined): Promise<ServiceConfig> {
  if (path === undefined) return { targets: [] };
  return parseServiceConfig(await readFile(path, "utf8"), path, (target) => {
    try {
      sourceOf(target, () => undefined);
      return undefined;
    } catch (error) {
      if (error instanceof TargetError) return error.message;
      throw error;
    }
  });
}

/** Reads the configuration again on each SIGHUP; one that cannot be used is refused, and the one before is kept. */
function rereads(
  context: Context,
  path: string,
  first: ServiceConfig,
  keep: (config: ServiceConfig) => void,
): Disposable | undefined {
  let reading = Promise.resolve();
  const reread = async (): Promise<void> => {
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
    }
  };
  // One after the other: two signals in a row must not end with the older file.
  return context.onHangup?.(() => void (reading = reading.then(reread)));
}
