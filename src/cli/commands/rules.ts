/** `rules explain` and `rules check`: what udev rules do to kdump on each event, and what is wrong with them. */
import { Command, InvalidArgumentError, Option } from "commander";
import { checkJson, checkText, explainJson, explainText } from "../../report/rules.ts";
import { formatDiagnostic } from "../../rules/diagnostic.ts";
import type { CrashHotplug } from "../../rules/device.ts";
import { ALL_DIALECTS, type Dialect, NEWEST, parseDialect } from "../../rules/dialect.ts";
import { effectOf } from "../../rules/effect.ts";
import { RulesError } from "../../rules/error.ts";
import { RuleSet } from "../../rules/evaluate.ts";
import { makeEvent, parseEventSpec } from "../../rules/event.ts";
import { checkRules } from "../../rules/findings.ts";
import { NOTHING_KNOWN, type ProgramResult, type World, worldOfPrograms } from "../../rules/world.ts";
import { verifyRules } from "../../rules/verify.ts";
import { readCrashHotplug, readNamedRules, readRuleDirectories } from "../../targets/local/rules-files.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT, UsageError } from "../exit.ts";
import { jsonOption } from "../options.ts";

interface RulesOptions {
  readonly rulesDir?: readonly string[];
  readonly root?: string;
  readonly systemd: Dialect;
  readonly kernelCrashHotplug?: CrashHotplug;
  readonly assume: ReadonlyMap<string, ProgramResult>;
  readonly const: ReadonlyMap<string, string>;
  readonly json?: true;
}

interface ExplainOptions extends RulesOptions {
  readonly event: string;
  readonly env: ReadonlyMap<string, string>;
  readonly unknownPrograms: "succeed" | "fail";
  readonly all?: true;
}

interface CheckCommandOptions extends RulesOptions {
  readonly style?: true;
}

export function rulesCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("rules")
    .description("say what udev rules do to kdump; programs are never run")
    .addCommand(explainCommand(context, exit))
    .addCommand(checkCommand(context, exit));
}

function explainCommand(context: Context, exit: (code: number) => void): Command {
  return shared(new Command("explain"))
    .description("evaluate the rules on one event: which lines match, why the others do not, what is done")
    .requiredOption("--event <event>", "online:memory40, add:cpu3, or ACTION@DEVPATH")
    .option(
      "--env <KEY=VALUE>",
      "a variable of the uevent, also SUBSYSTEM and DRIVER (may be repeated)",
      keyValue,
      new Map(),
    )
    .addOption(
      new Option("--unknown-programs <way>", "what PROGRAM does where --assume does not say")
        .choices(["succeed", "fail"])
        .default("succeed"),
    )
    .option("--all", "show also the lines of files that do not concern the event")
    .action(async (files: readonly string[], options: ExplainOptions) => {
      const rules = await usage(() => loadRules(files, options));
      if (!rules) return noRules(context, exit, options);
      const crashHotplug =
        options.kernelCrashHotplug ?? (await localCrashHotplug(files, options)) ?? "absent";
      const { outcome, effect } = await usage(async () => {
        const spec = parseEventSpec(options.event);
        const kernel = { crashHotplug };
        const event = makeEvent(spec, { kernel, variables: Object.fromEntries(options.env) });
        const unknownPrograms = options.unknownPrograms === "fail" ? "fails" : "succeeds";
        const evaluation = { world: worldOf(options), unknownPrograms } as const;
        return {
          outcome: rules.explain(event, evaluation),
          effect: effectOf(rules, spec, kernel, evaluation),
        };
      });
      const explanation = {
        systemd: rules.dialect.version,
        crashHotplug,
        files: rules.files.length,
        outcome,
        effect,
        diagnostics: rules.files.flatMap(({ diagnostics }) => diagnostics),
      };
      if (options.json) printJson(context, explainJson(explanation));
      else context.print(explainText(explanation, options.all === true));
      // What was dropped or cut does not do what its author meant: the answer is about the rest.
      const bad = explanation.diagnostics.find(({ severity }) => severity === "error");
      if (bad) context.say(`Cannot read all of the rules: ${formatDiagnostic(bad)}`);
      exit(bad ? EXIT.usage : EXIT.yes);
    });
}

function checkCommand(context: Context, exit: (code: number) => void): Command {
  return shared(new Command("check"))
    .description("say what is wrong for kdump in the rules, and what udevadm verify would say of them")
    .option("--style", "say also what is only a matter of style")
    .action(async (files: readonly string[], options: CheckCommandOptions) => {
      const rules = await usage(() => loadRules(files, options));
      if (!rules) return noRules(context, exit, options);
      const crashHotplug = options.kernelCrashHotplug ?? (await localCrashHotplug(files, options));
      const verified = rules.files.flatMap((file) => verifyRules(file));
      const findings = [
        ...checkRules(rules, { crashHotplug, world: worldOf(options) }),
        ...verified
          .filter(({ severity }) => severity !== "style")
          .map(({ path, line, message }) => ({ id: "syntax" as const, message, places: [{ path, line }] })),
      ];
      const checked = {
        systemd: rules.dialect.version,
        crashHotplug,
        files: rules.files.map(({ path }) => path),
        findings,
        style: options.style ? verified.filter(({ severity }) => severity === "style") : [],
      };
      if (options.json) printJson(context, checkJson(checked));
      else context.print(checkText(checked));
      exit(findings.length === 0 ? EXIT.yes : EXIT.no);
    });
}

function shared(command: Command): Command {
  const versions = ALL_DIALECTS.map(({ version, shippedBy }) => `${version} ${shippedBy}`).join(", ");
  return command
    .argument("[files...]", "files of rules; without any, the rule directories are read")
    .option(
      "--rules-dir <dir>",
      "a rule directory in place of udev's (may be repeated, the first has priority)",
      append,
    )
    .option("--root <dir>", "the root of another system")
    .addOption(
      new Option("--systemd <version>", `whose udev: ${versions}`)
        .argParser(dialect)
        .default(NEWEST, String(NEWEST.version)),
    )
    .addOption(
      new Option("--kernel-crash-hotplug <value>", "what the kernel says in crash_hotplug").choices([
        "0",
        "1",
        "absent",
      ]),
    )
    .option(
      "--assume <CMD=EXIT[:OUTPUT]>",
      "what a program does: its whole command or its name (may be repeated)",
      assume,
      new Map(),
    )
    .option("--const <NAME=VALUE>", "CONST{arch} or CONST{virt} (may be repeated)", keyValue, new Map())
    .addOption(jsonOption());
}

/** @returns undefined where there are no rules at all. */
async function loadRules(files: readonly string[], options: RulesOptions): Promise<RuleSet | undefined> {
  const { rulesDir, root, systemd } = options;
  const ways = [files.length > 0, rulesDir !== undefined, root !== undefined].filter(Boolean).length;
  if (ways > 1) throw new UsageError("Give files, --rules-dir or --root, and only one of them");
  const sources =
    files.length > 0
      ? await readNamedRules(files)
      : await readRuleDirectories(rulesDir ?? systemd.directories, root);
  return sources.length === 0 ? undefined : RuleSet.parse(sources, systemd);
}

function noRules(context: Context, exit: (code: number) => void, options: RulesOptions): void {
  const places = (options.rulesDir ?? options.systemd.directories).join(", ");
  context.say(
    `No rules were found in ${places}${options.root === undefined ? "" : ` below ${options.root}`}: name files of rules, or another place with --rules-dir or --root`,
  );
  exit(EXIT.unknown);
}

/** Only this machine's own rules are asked of this machine's kernel. */
async function localCrashHotplug(
  files: readonly string[],
  { rulesDir, root }: RulesOptions,
): Promise<CrashHotplug | undefined> {
  return files.length > 0 || rulesDir !== undefined || root !== undefined
    ? undefined
    : await readCrashHotplug();
}

function worldOf(options: RulesOptions): World {
  return worldOfPrograms(options.assume, { ...NOTHING_KNOWN, constant: (name) => options.const.get(name) });
}

/** Bad rules and bad events are bad input. */
async function usage<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RulesError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

function append(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function dialect(text: string): Dialect {
  try {
    return parseDialect(text);
  } catch (error) {
    if (error instanceof RulesError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

function keyValue(text: string, before: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const match = /^([^=]+)=(.*)$/s.exec(text);
  if (!match) throw new InvalidArgumentError("expected NAME=VALUE");
  return new Map([...before, [match[1]!, match[2]!]]);
}

function assume(
  text: string,
  before: ReadonlyMap<string, ProgramResult>,
): ReadonlyMap<string, ProgramResult> {
  const match = /^(.+?)=(\d{1,3})(?::(.*))?$/s.exec(text);
  if (!match) throw new InvalidArgumentError("expected COMMAND=EXIT or COMMAND=EXIT:OUTPUT");
  return new Map([...before, [match[1]!, { exit: Number(match[2]), stdout: match[3] ?? "" }]]);
}
