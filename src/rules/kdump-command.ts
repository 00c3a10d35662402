/** Commands that do something to the loaded capture image, by the names that distributions gave them. */

/** What a command does to the loaded capture image. */
export type KdumpEffect =
  /** Unloads and loads, or loads over, once for each call. */
  | "reload"
  /** Waits for events to settle; calls meanwhile end at once. */
  | "throttled-reload"
  /** One runner at a time, which starts over while calls came in. */
  | "coalesced-reload"
  /** Leaves nothing loaded. */
  | "unload";

/** A command that was recognised. */
export interface KdumpCommand {
  readonly effect: KdumpEffect;
  /** The program's name. */
  readonly program: string;
  /** Whether it does nothing unless an image is loaded: then one failed load turns it off for good. */
  readonly latches: boolean;
  /** Whether it is handed to PID 1, so that udev's worker does not wait for it. */
  readonly detached: boolean;
  /** Whether a reload unloads before it loads: then nothing is loaded from the one to the end of the other. */
  readonly unloadsFirst: boolean;
}

interface Known {
  readonly effect: KdumpEffect;
  readonly latches?: boolean;
  /** Loads over the loaded image: nothing is loaded during the system call alone. */
  readonly over?: boolean;
}

/** By program, and by its first word that is no option; "" stands for any. */
const KNOWN: Readonly<Record<string, Readonly<Record<string, Known>>>> = {
  // kdump-utils 1c97aee: flock -n, sleep 1, settle for 3 s at most, kdumpctl reload. The RFC writes "throttle".
  "kdump-udev-throttler": { "": { effect: "throttled-reload" } },
  "kdump-udev-throttle": { "": { effect: "throttled-reload" } },
  // openSUSE kdump, init/load-once.sh: job file and flock -n. Its rule calls it only where an image is loaded.
  "load-once.sh": { "": { effect: "coalesced-reload", over: true } },
  // Ours: one load in flight, one more for all calls meanwhile.
  "kdump-load-over": { "": { effect: "coalesced-reload", over: true } },
  // kdump-tools: both do nothing where kexec_crash_loaded is 0.
  "kdump-config": {
    "try-reload": { effect: "reload", latches: true },
    condreload: { effect: "reload", latches: true },
    reload: { effect: "reload" },
    load: { effect: "reload", over: true },
    unload: { effect: "unload" },
  },
  // Since kdump-utils 0a9aaba (2019) reload loads where nothing is loaded; before, it latched as Debian's does.
  kdumpctl: {
    reload: { effect: "reload" },
    restart: { effect: "reload" },
    start: { effect: "reload" },
    stop: { effect: "unload" },
    unload: { effect: "unload" },
  },
};

const RESTARTS = new Set([
  "start",
  "restart",
  "try-restart",
  "reload",
  "reload-or-restart",
  "try-reload-or-restart",
]);

/**
 * What `command` does to kdump; undefined where nothing in it is known. Programs may stand anywhere in it:
 * distributions wrap them in `sh -c '...'`. The first that is known counts.
 */
export function recognise(command: string): KdumpCommand | undefined {
  const words = command.split(/[\s'"()]+/).filter((word) => word !== "");
  const detached = words.some((word) => baseName(word) === "systemd-run");
  for (const [i, word] of words.entries()) {
    const program = baseName(word);
    const known = recogniseAt(program, words, i + 1);
    if (known) {
      const { effect, latches = false, over = false } = known;
      return { effect, program, latches, detached, unloadsFirst: !over && effect !== "unload" };
    }
  }
  return undefined;
}

function recogniseAt(program: string, words: readonly string[], at: number): Known | undefined {
  if (program === "kexec") return recogniseKexec(words, at);
  if (program !== "systemctl" && !Object.hasOwn(KNOWN, program)) return undefined;
  const verb = nextWord(words, at);
  if (program === "systemctl") return recogniseSystemctl(words, verb);
  const verbs = KNOWN[program]!;
  const name = bare(words[verb] ?? "");
  return verbs[""] ?? (Object.hasOwn(verbs, name) ? verbs[name] : undefined);
}

function recogniseSystemctl(words: readonly string[], verb: number): Known | undefined {
  const name = words[verb] ?? "";
  if (!bare(words[nextWord(words, verb + 1)] ?? "").startsWith("kdump")) return undefined;
  if (RESTARTS.has(name)) return { effect: "reload" };
  return name === "stop" ? { effect: "unload" } : undefined;
}

/** `-p` loads the capture kernel, with `-u` it unloads it; short options may be joined. */
function recogniseKexec(words: readonly string[], at: number): Known | undefined {
  let panic = false;
  let unload = false;
  for (let i = at; i < words.length; i++) {
    const word = words[i]!;
    const joined = /^-[a-z]+/.exec(word)?.[0] ?? "";
    panic ||= joined.includes("p") || word.startsWith("--load-panic");
    unload ||= joined.includes("u") || word.startsWith("--unload");
    // The shell's next command.
    if (/[;&|]/.test(word)) break;
  }
  if (!panic) return undefined;
  return unload ? { effect: "unload" } : { effect: "reload", over: true };
}

/**
 * The unit without which `command` ends before it does anything: RHEL's rules ask `systemctl is-active kdump.service`
 * first. undefined where it asks for none.
 */
export function unitAskedBy(command: string): string | undefined {
  const unit = /\bsystemctl\s+(?:-\S+\s+)*is-active\s+(?:-\S+\s+)*([\w@.:-]+)/.exec(command)?.[1];
  return unit === undefined || unit.includes(".") ? unit : `${unit}.service`;
}

/** Index of the first word from `at` on that is no option. */
function nextWord(words: readonly string[], at: number): number {
  let i = at;
  while (words[i]?.startsWith("-")) i++;
  return i;
}

function baseName(word: string): string {
  return bare(word.slice(word.lastIndexOf("/") + 1));
}

/** Without what ends a command in a shell. */
function bare(word: string): string {
  return word.replace(/[;&|].*$/s, "");
}
