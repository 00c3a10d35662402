/** What `udevadm monitor` prints (src/udev/udevadm-monitor.c of systemd 219 to 257), read as it comes. */
import { LineParser } from "../qemu/line-parser.ts";
import { LARGEST_UEVENT, type Uevent } from "./uevent.ts";

/** One line of it: `KERNEL[12.345678] add      /devices/system/memory/memory32 (memory)`. */
export interface MonitoredEvent extends Uevent {
  /** Who told of it: the kernel, or udevd when it was done with it. */
  readonly source: "KERNEL" | "UDEV";
  /** When it was printed, seconds of the monotonic clock. */
  readonly seconds: number;
}

/** One line without its end; undefined where it tells of no event. */
export function parseMonitorLine(line: string): MonitoredEvent | undefined {
  const found = /^(KERNEL|UDEV) *\[(\d+\.\d+)\] +([a-z]+) +(\/.*) \(([^()]+)\)$/.exec(line);
  if (found === null) return undefined;
  const [, source, seconds, action = "", devpath = "", subsystem = ""] = found;
  return {
    source: source === "UDEV" ? "UDEV" : "KERNEL",
    seconds: Number(seconds),
    action,
    devpath,
    subsystem,
  };
}

/** What came. */
export type MonitorNews =
  /** It listens from now on. */
  | { readonly kind: "listening" }
  | { readonly kind: "event"; readonly event: Uevent }
  /** Something that begins as an event does. */
  | { readonly kind: "malformed" };

/** Reads `udevadm monitor --kernel`. A push parser: bytes in, news out when there are some. */
export class MonitorParser {
  readonly #lines = new LineParser(LARGEST_UEVENT);

  /** @throws {LineError} where a line is longer than any event is. */
  append(bytes: Uint8Array): void {
    this.#lines.append(bytes);
  }

  /** The next news, undefined until there are some. @throws {LineError} where a line is no text. */
  tryRead(): MonitorNews | undefined {
    for (let line = this.#lines.tryRead(); line !== undefined; line = this.#lines.tryRead()) {
      // The last line of its heading, printed once its socket is there.
      if (line.startsWith("KERNEL - ")) return { kind: "listening" };
      if (!/^KERNEL *\[/.test(line)) continue;
      const event = parseMonitorLine(line);
      return event === undefined ? { kind: "malformed" } : { kind: "event", event };
    }
    return undefined;
  }
}
