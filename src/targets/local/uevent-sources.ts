/** Ways to hear that memory or CPUs may have changed, the best one first. Each tells its listener until it is ended. */
import { spawn } from "node:child_process";
import { loadSystemCalls } from "./system-calls.ts";
import { MonitorParser } from "./udevadm-text.ts";
import { parseUevent, type Uevent } from "./uevent.ts";
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

/** So many are read before others have their turn. */
const AT_ONCE = 1024;

/** By netlink. @param open opens the socket; for tests. */
export function netlinkSource(
  open: () => Promise<UeventSource> = async () => openUeventSocket(await loadSystemCalls()),
): StartSource {
  return async (listener) => {
    const source = await open();
    try {
      source.onReadable(() => {
        try {
          drain(source, listener);
        } catch (error) {
          source[Symbol.dispose]();
          listener.ended(messageOf(error));
        }
        listener.settled();
      });
    } catch (error) {
      source[Symbol.dispose]();
      throw error;
    }
    return source;
  };
}

function drain(source: UeventSource, listener: UeventListener): void {
  for (let count = 0; count < AT_ONCE; count++) {
    const received = source.receive();
    if (received.kind === "empty") return;
    if (received.kind === "overrun") listener.overrun();
    else if (received.kind === "foreign") listener.foreign();
    else {
      const event = parseUevent(received.datagram);
      if (event === undefined) listener.malformed();
      else listener.event(event);
    }
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
