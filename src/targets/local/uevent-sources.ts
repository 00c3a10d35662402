/** Ways to hear that memory or CPUs may have changed, the best one first. Each tells its listener until it is ended. */
import { spawn } from "node:child_process";
import { loadSystemCalls } from "./system-calls.ts";
import { MonitorParser } from "./udevadm-text.ts";
import { concernsLayout, parseUevent, type Uevent } from "./uevent.ts";
import { openUeventSocket, type UeventSource } from "./uevent-socket.ts";

/** Who is told. After `ended` nothing comes any more. */
export interface UeventListener {
  event(event: Uevent): void;
  /** Something that is no uevent where one was expected. */
  malformed(): void;
  /** A message that the kernel did not send. */
  foreign(): void;
  /** Events were lost. */
  overrun(): void;
  /** All that came at once has been told. */
  settled(): void;
  /** It cannot be heard any more; `reason` in words, without a full stop. */
  ended(reason: string): void;
}

/** What listens, until it is disposed of. */
export type StartSource = (listener: UeventListener) => Promise<Disposable>;

/** So many are read before others have their turn: 1 to 2 ms. */
const AT_ONCE = 64;
/**
 * For so long nothing is read after a change was heard, ms: a storm has thousands of events, each of which takes 20 us
 * to read, and the look that the first one asks for is to have the processor meanwhile. The kernel keeps them.
 */
const REST_MS = 10;

/** By netlink. @param open opens the socket; for tests. */
export function netlinkSource(
  open: () => Promise<UeventSource> = async () => openUeventSocket(await loadSystemCalls()),
): StartSource {
  return async (listener) => {
    const reader = new Reader(await open(), listener);
    reader.listen();
    return reader;
  };
}

/** Reads a socket as long as it is not told to end. */
class Reader implements Disposable {
  readonly #source: UeventSource;
  readonly #listener: UeventListener;
  #poll: Disposable | undefined;
  #rest: NodeJS.Timeout | undefined;

  constructor(source: UeventSource, listener: UeventListener) {
    this.#source = source;
    this.#listener = listener;
  }

  /** Reads whenever there is something; also what is there already. @throws where it cannot be polled. */
  listen(): void {
    try {
      this.#poll = this.#source.onReadable(() => this.#read());
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#rest);
    this.#source[Symbol.dispose]();
  }

  #read(): void {
    try {
      const isNews = this.#drain();
      if (isNews) {
        this.#poll?.[Symbol.dispose]();
        this.#rest = setTimeout(() => this.#listenAgain(), REST_MS);
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#listener.settled();
  }

  #listenAgain(): void {
    try {
      this.listen();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this[Symbol.dispose]();
    this.#listener.ended(messageOf(error));
  }

  /** @returns whether anything of what was read asks for a look. */
  #drain(): boolean {
    let isNews = false;
    for (let count = 0; count < AT_ONCE; count++) {
      const received = this.#source.receive();
      if (received.kind === "empty") break;
      if (received.kind === "foreign") {
        this.#listener.foreign();
        continue;
      }
      const event = received.kind === "uevent" ? parseUevent(received.datagram) : undefined;
      if (received.kind === "overrun") this.#listener.overrun();
      else if (event === undefined) this.#listener.malformed();
      else this.#listener.event(event);
      isNews ||= event === undefined || concernsLayout(event);
    }
    return isNews;
  }
}

/** It says so within milliseconds, on a machine that is busy with a storm of events within seconds. */
const LISTENS_WITHIN_MS = 10_000;
/** What the filter lets through is what matters here. */
const MONITOR = ["monitor", "--kernel", "--subsystem-match=memory", "--subsystem-match=cpu"];

/**
 * By a child, `udevadm monitor`. It does not tell of events that it loses (sd-device-monitor.c logs that for debugging
 * only), and its socket has the system's default size. Where this program is killed outright, the child ends at the
 * next event, when nobody reads it.
 *
 * @param command the program, for tests.
 */
export function udevadmSource(command = "udevadm"): StartSource {
  return async (listener) =>
    await new Promise<Disposable>((resolve, reject) => {
      const child = spawn(command, MONITOR, { stdio: ["ignore", "pipe", "pipe"] });
      const parser = new MonitorParser();
      let state: "starting" | "listening" | "over" = "starting";
      let said = "";
      const timer = setTimeout(() => fail(`said nothing within ${LISTENS_WITHIN_MS} ms`), LISTENS_WITHIN_MS);
      const end = (): void => {
        state = "over";
        clearTimeout(timer);
        child.kill();
      };
      const fail = (reason: string): void => {
        const before = state;
        if (before === "over") return;
        end();
        const words = `${command} monitor ${reason}${said === "" ? "" : `: ${said}`}`;
        if (before === "listening") listener.ended(words);
        else reject(new Error(words));
      };
      child.on("error", (error) => fail(`cannot be started (${error.message})`));
      child.on("close", (status, signal) => fail(`ended with ${signal ?? `status ${status}`}`));
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-500).trim();
      });
      child.stdout.on("data", (bytes: Uint8Array) => {
        if (state === "over") return;
        try {
          parser.append(bytes);
          for (let news = parser.tryRead(); news !== undefined; news = parser.tryRead()) {
            if (news.kind === "event") listener.event(news.event);
            else if (news.kind === "malformed") listener.malformed();
            else if (state === "starting") {
              state = "listening";
              clearTimeout(timer);
              resolve({ [Symbol.dispose]: end });
            }
          }
        } catch (error) {
          fail(`cannot be understood (${messageOf(error)})`);
        }
        listener.settled();
      });
    });
}

/** What an error says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
