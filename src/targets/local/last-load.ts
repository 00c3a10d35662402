/** How long the last load of a capture kernel took, by what the distributions' scripts and systemd wrote down of it. */

/** One line of a log, as far as it matters. */
export interface LogLine {
  /** Milliseconds of a clock that all lines of one log share. */
  readonly at: number;
  /** For people. */
  readonly time: string;
  /** Which boot it is of; lines of two boots are never subtracted. */
  readonly boot: string;
  readonly message: string;
  /** Whether systemd says that it starts a kdump service. */
  readonly isStart: boolean;
}

/** One stretch of time that a log tells. */
export interface LoadSpan {
  /**
   * - `reload`: from unloaded to loaded: nothing was loaded meanwhile;
   * - `load`: one call of kexec;
   * - `start`: from the start of the service to loaded, with all checks, and the initrd where it had to be made.
   */
  readonly what: "reload" | "load" | "start";
  readonly ms: number;
  /** Steps of the log's clock: it was up to so much more, or less. */
  readonly resolutionMs: number;
  /** When it ended, as the log has it. */
  readonly time: string;
  /** Whether the initrd was made meanwhile, which the next reload does only where something has changed. */
  readonly madeInitrd: boolean;
}

/** A stop, and a start by hand much later, look the same as a reload; what takes longer is taken for that. */
const LONGEST_RELOAD_MS = 180_000;

// kdump-utils' kdumpctl (stop_kdump, load_kdump) and kdump-tools' kdump-config (kdump_unload, kdump_load) use the same words.
const UNLOADED = /\bunloaded kdump kernel\b/;
const LOADED = /\b[Ll]oaded kdump kernel\b/;
// openSUSE's load.sh, where it is to say what it does (KDUMP_VERBOSE, as it is unless changed).
const LOADING = /^Starting kdump kernel load;/;
const FAILED = /failed to (?:un)?load kdump kernel|Starting kdump: \[FAILED\]/;
const MAKES_INITRD = /Rebuilding \/|No kdump initial ramdisk found|Force rebuild \//;

/**
 * Finds the last reload, load and start in the lines of one log, oldest first.
 *
 * @param resolutionMs - steps of its clock.
 */
export function findLoads(lines: readonly LogLine[], resolutionMs: number): readonly LoadSpan[] {
  const last = new Map<LoadSpan["what"], LoadSpan>();
  let unloaded: LogLine | undefined;
  let loading: LogLine | undefined;
  let starting: LogLine | undefined;
  let madeInitrd = false;
  let boot = "";
  const forget = (): void => {
    unloaded = loading = starting = undefined;
    madeInitrd = false;
  };
  const note = (what: LoadSpan["what"], from: LogLine, to: LogLine, longest: number): void => {
    const ms = to.at - from.at;
    // A clock that was put back.
    if (ms >= 0 && ms <= longest) last.set(what, { what, ms, resolutionMs, time: to.time, madeInitrd });
  };
  for (const line of lines) {
    if (line.boot !== boot) forget();
    boot = line.boot;
    const { message } = line;
    if (FAILED.test(message)) forget();
    else if (UNLOADED.test(message))
      // Written twice by kdump-config, to its output and to the log: it began with the first.
      unloaded ??= line;
    else if (LOADED.test(message)) {
      if (unloaded) note("reload", unloaded, line, LONGEST_RELOAD_MS);
      if (loading) note("load", loading, line, Infinity);
      if (starting) note("start", starting, line, Infinity);
      forget();
    } else if (LOADING.test(message)) loading = line;
    else if (line.isStart) {
      // A service that was stopped unloaded, and how long it stayed so says nothing of what a load takes.
      forget();
      starting = line;
    } else if (MAKES_INITRD.test(message)) madeInitrd = true;
  }
  return [...last.values()];
}

/** Whoever writes such lines: kdumpctl, kdump-config, the throttler, load.sh and systemd. */
const WRITERS = /^(?:kdump[\w-]*|systemd|kernel|load(?:-once)?\.sh)$/;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** What systemd calls the services, by their names or, before v250, by their descriptions. */
const SERVICES =
  "(?:kdump(?:-tools|-early)?\\.service|Crash recovery kernel arming|Kernel crash dump capture service|Load kdump kernel)";
const STARTING = new RegExp(`^Starting ${SERVICES}`);

/** The lines of rsyslog's files, in its traditional form (whole seconds, no year) or in that of RFC 3339, that matter. */
export function parseSyslog(text: string): {
  readonly lines: readonly LogLine[];
  readonly resolutionMs: number;
} {
  const lines: LogLine[] = [];
  let boots = 0;
  let resolutionMs = 0;
  for (const line of text.split("\n")) {
    const match =
      /^(?:(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))|([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)) \S+ ([^\s:[]+)(?:\[\d+\])?: (.*)$/.exec(
        line,
      );
    if (!match) continue;
    const [, iso, fraction, month = "", day, hour, minute, second, writer = "", message = ""] = match;
    if (!WRITERS.test(writer)) continue;
    if (writer === "kernel") {
      if (/\bLinux version /.test(message)) boots++;
      continue;
    }
    // A leap year: there is no other to tell.
    const at =
      iso === undefined
        ? Date.UTC(2000, MONTHS.indexOf(month), Number(day), Number(hour), Number(minute), Number(second))
        : Date.parse(iso);
    if (Number.isNaN(at)) continue;
    if (fraction === undefined) resolutionMs = 1000;
    const isStart = writer === "systemd" && STARTING.test(message);
    if (writer === "systemd" && !isStart) continue;
    const time = iso ?? `${month} ${day} ${hour}:${minute}:${second}`;
    lines.push({ at, time, boot: String(boots), message, isStart });
  }
  return { lines, resolutionMs };
}

/** Of systemd's catalogue: SD_MESSAGE_UNIT_STARTING (sd-messages.h). */
const UNIT_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5";

/** The lines of `journalctl -o json`. Its clock does not jump within a boot, and counts microseconds. */
export function parseJournal(text: string): readonly LogLine[] {
  return text.split("\n").flatMap((line) => {
    const entry = parseObject(line);
    const monotonic = Number(entry?.["__MONOTONIC_TIMESTAMP"]);
    const realtime = Number(entry?.["__REALTIME_TIMESTAMP"]);
    if (!entry || !Number.isFinite(monotonic) || !(realtime >= 0 && realtime < 8.64e18)) return [];
    const message = entry["MESSAGE"];
    return [
      {
        at: monotonic / 1000,
        time: new Date(realtime / 1000).toISOString(),
        boot: JSON.stringify(entry["_BOOT_ID"] ?? ""),
        // Null where it is too long, numbers where it is no text.
        message: typeof message === "string" ? message : "",
        isStart: entry["MESSAGE_ID"] === UNIT_STARTING,
      },
    ];
  });
}

function parseObject(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : undefined;
  } catch {
    // The last line of what was cut.
    return undefined;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The last call of kexec in kdumpctl's own log of RHEL 8 (/var/log/kdump.log): a shell's trace with whole seconds, `ret=` of
 * which is the line behind the call.
 */
export function findTracedLoad(text: string): LoadSpan | undefined {
  let found: LoadSpan | undefined;
  let began: number | undefined;
  for (const line of text.split("\n")) {
    const [, day, clock, command = ""] =
      /^\++ (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) \S*@\d+: (.*)$/.exec(line) ?? [];
    const at = Date.parse(`${day}T${clock}Z`);
    if (Number.isNaN(at)) continue;
    if (/^\S*\bkexec .*-p\b/.test(command)) began = at;
    else if (/^ret=\d+$/.test(command)) {
      if (began !== undefined && command === "ret=0" && at >= began)
        found = {
          what: "load",
          ms: at - began,
          resolutionMs: 1000,
          time: `${day} ${clock}`,
          madeInitrd: false,
        };
      began = undefined;
    }
  }
  return found;
}
