/** `audit --all`: every guest of this user's keepers, or of a configuration file; and `audit --nagios`. */
import { nagiosOf, nagiosUnknown } from "../report/nagios.ts";
import { SCHEMA_VERSION } from "../report/json.ts";
import { subjectJson, subjectText } from "../report/subject.ts";
import { printable } from "../report/text.ts";
import { listKeepers, runBy, SilentKeeperError } from "../targets/control/client.ts";
import { ownControlDirectory } from "../targets/control/directory.ts";
import { type Context, printJson } from "./context.ts";
import { EXIT, UsageError } from "./exit.ts";
import { readConfig, sourceOf } from "./wanted-targets.ts";

/** Which, and how they are told of. */
export interface AuditAllOptions {
  readonly config?: string;
  readonly json?: true;
  readonly nagios?: true;
}

/** What a command line came to. */
interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One that is to be audited. */
interface Wanted {
  readonly target: string;
  readonly audit: (args: readonly string[]) => Promise<Ended>;
}

/** So many at a time: each waits for its QEMU most of the time. */
const AT_A_TIME = 8;
/** How long a directory may take to be read, ms. */
const LIST_LIMIT_MS = 5000;

/** `audit --all`. @returns the exit code: 1 where one is inaccurate, else 3 where one cannot be told. */
export async function auditAll(context: Context, options: AuditAllOptions): Promise<number> {
  const { config, json, nagios } = options;
  const wanted = config === undefined ? await keptTargets(context) : await listedTargets(context, config);
  if (wanted.length === 0)
    throw new NothingToAuditError(
      config === undefined
        ? "No keeper of this user has any target: start kdump-hotplug keep, or give --config FILE or a TARGET"
        : `${config} lists no target that is there`,
    );
  const asJson = json === true || nagios === true;
  const audits = await mapSome(wanted, async ({ target, audit }) => {
    context.signal.throwIfAborted();
    const ended = await audit(["audit", target, ...(asJson ? ["--json"] : [])]);
    return { target, ...ended };
  });
  if (asJson) {
    const documents = audits.map(({ target, stdout, stderr }) =>
      stdout === "" ? unknownDocument(target, stderr) : (JSON.parse(stdout) as unknown),
    );
    if (nagios) {
      const { line, code } = nagiosOf(documents, true);
      context.print(line);
      return code;
    }
    printJson(context, { schemaVersion: SCHEMA_VERSION, targets: documents });
  } else {
    for (const { target, stdout, stderr } of audits)
      context.print(
        stdout === "" ? `${subjectText(target)}: unknown\n  ${printable(stderr.trim())}\n` : stdout,
      );
  }
  const codes = audits.map(({ code }) => code);
  if (codes.includes(EXIT.no)) return EXIT.no;
  return codes.every((code) => code === EXIT.yes) ? EXIT.yes : EXIT.unknown;
}

/** `audit --nagios` of one target, or of all. Whatever goes wrong is told as the guidelines want it. */
export async function auditNagios(
  context: Context,
  target: string | undefined,
  options: AuditAllOptions & { readonly all?: true },
): Promise<number> {
  try {
    if (options.all) return await auditAll(context, options);
    if (target === undefined) throw new UsageError("Give a TARGET or --all");
    const args = (context.args ?? []).filter((arg) => arg !== "--nagios" && arg !== "--json");
    const { stdout, stderr } = await runHere(context, [...args, "--json"]);
    const { line, code } = stdout === "" ? nagiosUnknown(stderr) : nagiosOf([JSON.parse(stdout)], false);
    context.print(line);
    return code;
  } catch (error) {
    const { line, code } = nagiosUnknown(error instanceof Error ? error.message : String(error));
    context.print(line);
    return code;
  }
}

/** There is nothing to audit. Exit code 3. */
export class NothingToAuditError extends Error {
  override readonly name = "NothingToAuditError";
}

/** What the keepers of this user have. One that does not say what counts as a target of which nothing is known. */
async function keptTargets(context: Context): Promise<readonly Wanted[]> {
  const { directory, uid } = ownControlDirectory();
  const keepers = await listKeepers(directory, uid);
  return keepers.flatMap(({ socket, targets }) => {
    if (targets instanceof SilentKeeperError) return unknowable(socket, targets.message);
    return targets.map(({ target, state, reason }): Wanted => {
      if (state !== "watched") return unknowable(target, reason ?? "it is being opened");
      const audit = async (args: readonly string[]): Promise<Ended> =>
        await captured(context, async (theirs) => {
          try {
            const code = await runBy(socket, target, args, theirs);
            if (code !== undefined) return code;
            theirs.say("Its keeper lost it just now");
          } catch (error) {
            // The others are told of all the same.
            if (!(error instanceof SilentKeeperError)) throw error;
            theirs.say(error.message);
          }
          return EXIT.unknown;
        });
      return { target, audit };
    });
  });
}

function unknowable(target: string, reason: string): Wanted {
  const ended = { code: EXIT.unknown, stdout: "", stderr: reason };
  return { target, audit: async () => ended };
}

/** What a configuration file lists: each is opened, or audited by the keeper that has it. */
async function listedTargets(context: Context, config: string): Promise<readonly Wanted[]> {
  const { targets } = await readConfig(config);
  const names = new Set<string>();
  for (const written of targets) for (const name of await namesOf(written, context)) names.add(name);
  return [...names].map((target) => ({ target, audit: async (args) => await runHere(context, args) }));
}

async function namesOf(written: string, { say }: Context): Promise<readonly string[]> {
  let watching: Disposable | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      const late = new Error(`What ${written} stands for was not to be had within ${LIST_LIMIT_MS} ms`);
      timer = setTimeout(() => reject(late), LIST_LIMIT_MS);
      watching = sourceOf(written, say).watch((listed) => resolve(listed.map(({ target }) => target)));
    });
  } finally {
    clearTimeout(timer);
    watching?.[Symbol.dispose]();
  }
}

async function runHere(context: Context, args: readonly string[]): Promise<Ended> {
  return await captured(context, async (theirs) => {
    if (context.run === undefined) throw new TypeError("No way to run a command line");
    return await context.run(args, theirs);
  });
}

/** Keeps what a command says. */
async function captured(
  { signal, machine }: Context,
  work: (context: Context) => Promise<number>,
): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const print = (text: string): void => void (stdout += text);
  const say = (line: string): void => void (stderr += `${line}\n`);
  const code = await work({ print, say, signal, machine });
  return { code, stdout, stderr };
}

function unknownDocument(target: string, reason: string): Readonly<Record<string, unknown>> {
  const head = { schemaVersion: SCHEMA_VERSION, ...subjectJson(target) };
  return { ...head, verdict: "unknown", reason: reason.trim(), image: null };
}

/** As Promise.all, some at a time. */
async function mapSome<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const workers = Array.from({ length: Math.min(AT_A_TIME, items.length) }, async () => {
    for (const [i, item] of queue) results[i] = await map(item);
  });
  await Promise.all(workers);
  return results;
}
