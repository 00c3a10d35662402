/** What a keeper tells the service manager that started it, and what that asks of it (sd_notify(3), systemd.service(5)). */
import { type ChannelOptions, type NotifyChannel, openNotifyChannel } from "./notify-channel.ts";

/** A service manager; one that is not there hears everything and does nothing. */
export interface ServiceManager extends Disposable {
  /** Whether anybody listens. */
  readonly isThere: boolean;
  /** How often it wants to hear that the keeper is alive: half of its patience, ms; undefined where it does not ask. */
  readonly watchdogEveryMs: number | undefined;
  /** The keeper is up; also once a reload is over. `status` is what `systemctl status` shows. */
  ready(status: string): Promise<void>;
  status(status: string): Promise<void>;
  /** The configuration is being read again: {@link ready} says when that is over, with the new one or the old. */
  reloading(): Promise<void>;
  /** The keeper is about to end. */
  stopping(status: string): Promise<void>;
  /** The keeper's main loop turns. */
  alive(): Promise<void>;
}

/** The variables that systemd sets. They are taken out of it: programs that the keeper starts are not meant. */
type Environment = Record<string, string | undefined>;

export interface ServiceManagerOptions extends ChannelOptions {
  readonly env?: Environment;
  readonly pid?: number;
  /** CLOCK_MONOTONIC, microseconds. */
  readonly monotonicMicroseconds?: () => bigint;
}

/** @throws {NotifyError} where NOTIFY_SOCKET is no socket's name: the manager would wait in vain. */
export async function openServiceManager(options: ServiceManagerOptions = {}): Promise<ServiceManager> {
  const { env = process.env, pid = process.pid } = options;
  const name = env["NOTIFY_SOCKET"];
  const watchdogEveryMs = watchdogOf(env, pid);
  for (const key of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[key];
  if (name === undefined || name === "") return new Manager(undefined, undefined, monotonic);
  const channel = await openNotifyChannel(name, options);
  return new Manager(channel, watchdogEveryMs, options.monotonicMicroseconds ?? monotonic);
}

/** uv_hrtime reads CLOCK_MONOTONIC, which is what MONOTONIC_USEC= is compared with. */
function monotonic(): bigint {
  return process.hrtime.bigint() / 1000n;
}

function watchdogOf(env: Environment, pid: number): number | undefined {
  const forWhom = env["WATCHDOG_PID"];
  const microseconds = Number(env["WATCHDOG_USEC"]);
  if (forWhom !== undefined && forWhom !== String(pid)) return undefined;
  return Number.isFinite(microseconds) && microseconds > 0
    ? Math.max(1, Math.floor(microseconds / 2000))
    : undefined;
}

class Manager implements ServiceManager {
  readonly watchdogEveryMs: number | undefined;
  readonly #channel: NotifyChannel | undefined;
  readonly #monotonic: () => bigint;
  /** Messages arrive in the order in which they were given. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    channel: NotifyChannel | undefined,
    watchdogEveryMs: number | undefined,
    monotonicMicroseconds: () => bigint,
  ) {
    this.#channel = channel;
    this.watchdogEveryMs = watchdogEveryMs;
    this.#monotonic = monotonicMicroseconds;
  }

  get isThere(): boolean {
    return this.#channel !== undefined;
  }

  async ready(status: string): Promise<void> {
    await this.#send("READY=1", statusLine(status));
  }

  async status(status: string): Promise<void> {
    await this.#send(statusLine(status));
  }

  async reloading(): Promise<void> {
    // With the time systemd can tell which SIGHUP this answers: Type=notify-reload (253 and newer) needs it.
    await this.#send("RELOADING=1", `MONOTONIC_USEC=${this.#monotonic()}`);
  }

  async stopping(status: string): Promise<void> {
    await this.#send("STOPPING=1", statusLine(status));
  }

  async alive(): Promise<void> {
    await this.#send("WATCHDOG=1");
  }

  [Symbol.dispose](): void {
    this.#channel?.[Symbol.dispose]();
  }

  async #send(...lines: readonly string[]): Promise<void> {
    const channel = this.#channel;
    if (channel === undefined) return;
    const sent = this.#last.then(() => channel.send(lines.join("\n")));
    this.#last = sent.catch(() => undefined);
    await sent;
  }
}

/** One line of it: another one would be another message. */
function statusLine(text: string): string {
  return `STATUS=${text.replaceAll(/[\p{Cc}\u2028\u2029\s]+/gu, " ").trim()}`;
}

/**
 * Tells `manager` for as long as the keeper is alive, where it asks to be told. It comes from the event loop, so a
 * keeper that hangs falls silent; one whose own loop has stopped says so, and is ended and started again.
 *
 * @param notAlive why not, one clause. @param onTrouble told in a sentence, each thing once.
 * @returns ends it.
 */
export function startWatchdog(
  manager: Pick<ServiceManager, "watchdogEveryMs" | "alive">,
  notAlive: () => string | undefined,
  onTrouble: (sentence: string) => void,
): Disposable {
  if (manager.watchdogEveryMs === undefined) return { [Symbol.dispose]: () => undefined };
  let told: string | undefined;
  const trouble = (sentence: string): void => {
    if (sentence !== told) onTrouble(sentence);
    told = sentence;
  };
  const tell = (): void => {
    const why = notAlive();
    if (why !== undefined) {
      trouble(`The service manager is no longer told that the keeper is alive: ${why}`);
      return;
    }
    manager.alive().then(
      () => (told = undefined),
      (error: unknown) => trouble(error instanceof Error ? error.message : String(error)),
    );
  };
  const timer = setInterval(tell, manager.watchdogEveryMs);
  timer.unref();
  tell();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
