/**
 * Reads what `virsh qemu-monitor-event --loop` prints (virsh-domain-event.c, virshEventQemuPrint):
 *
 *     event STOP at 1701234567.123456 for domain 'guest': <null>
 *
 * The time is QEMU's. With `--timestamp` it would be virsh's own, in milliseconds, and no pause could be measured by it.
 */
import type { QmpEvent } from "../qemu/qmp-message.ts";
import { parseQmp } from "../qemu/qmp-json.ts";

const EVENT = /^event (\S+) at (\d{1,15})\.(\d{6}) for domain '(.*)$/;

/** A line that looks like an event and cannot be read as one of the domain that was asked for. */
export class EventLineError extends Error {
  override readonly name = "EventLineError";
}

/**
 * The event that a line tells of; undefined for a line that is none.
 *
 * @param domain the domain's name, which may hold apostrophes and colons itself.
 * @throws {EventLineError} for a line that begins like an event and goes on otherwise.
 */
export function parseEventLine(line: string, domain: string): QmpEvent | undefined {
  if (!line.startsWith("event ")) return undefined;
  // What virsh says at its end: "events received: 2", "event loop timed out".
  if (line.startsWith("event loop ")) return undefined;
  const [, event, seconds, microseconds, rest] = EVENT.exec(line) ?? [];
  const before = `${domain}': `;
  if (event === undefined || rest === undefined || !rest.startsWith(before))
    throw new EventLineError(
      `virsh printed ${JSON.stringify(line.slice(0, 120))} where an event of "${domain}" was expected`,
    );
  return {
    event,
    data: dataOf(rest.slice(before.length), event),
    timestamp: { seconds: Number(seconds), microseconds: Number(microseconds) },
  };
}

function dataOf(text: string, event: string): unknown {
  if (text === "<null>" || text === "(null)") return {};
  try {
    return parseQmp(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new EventLineError(`Event ${event} has data that is not JSON: ${error.message}`, { cause: error });
  }
}

/**
 * Whether a line of `virsh event --event device-added --loop` tells of one. libvirt sends it when it has given QEMU the
 * device; QEMU has no such event.
 */
export function isDeviceAdded(line: string): boolean {
  return line.startsWith("event 'device-added' for domain ");
}
