/** The kernel's uevents as they come over netlink (lib/kobject_uevent.c), and which of them matter here. */

/** What a uevent says, as far as it matters. */
export interface Uevent {
  /** `add`, `remove`, `online`, `offline`, `change`, `move`, `bind`, `unbind`. */
  readonly action: string;
  /** Below /sys, with its first slash: `/devices/system/memory/memory32`. */
  readonly devpath: string;
  /** `memory`, `cpu`, and many that do not matter. */
  readonly subsystem: string;
}

/** The kernel's own limit is 2 KiB of variables and as much as a path takes before them (UEVENT_BUFFER_SIZE). */
export const LARGEST_UEVENT: number = 16 * 1024;

/**
 * Reads one datagram: `ACTION@DEVPATH`, then `KEY=VALUE` for each variable, each of them ended by a NUL.
 *
 * @returns undefined where it is none: no NUL at its end, no such beginning, variables that say otherwise, or libudev's
 * own messages, which come in another group and begin with `libudev`.
 */
export function parseUevent(datagram: Uint8Array): Uevent | undefined {
  if (datagram.length > LARGEST_UEVENT || datagram.at(-1) !== 0) return undefined;
  // Latin-1: a device may be named in any encoding, and nothing here depends on it.
  const [head = "", ...variables] = Buffer.from(datagram).toString("latin1").slice(0, -1).split("\0");
  const found = /^([a-z]+)@(\/.*)$/s.exec(head);
  if (found === null) return undefined;
  const [, action = "", devpath = ""] = found;
  const event = eventOf(variables);
  return event?.action === action && event.devpath === devpath ? event : undefined;
}

/** The uevent with these variables, `KEY=VALUE` each; undefined where one of those that matter is missing or twice. */
export function eventOf(variables: readonly string[]): Uevent | undefined {
  const action = only(variables, "ACTION=");
  const devpath = only(variables, "DEVPATH=");
  const subsystem = only(variables, "SUBSYSTEM=");
  if (action === undefined || devpath === undefined || subsystem === undefined) return undefined;
  return { action, devpath, subsystem };
}

/** Whether memory or CPUs may be others after it. Whatever happened to them: it only says "look again". */
export function concernsLayout({ subsystem }: Uevent): boolean {
  return subsystem === "memory" || subsystem === "cpu";
}

function only(variables: readonly string[], key: string): string | undefined {
  const found = variables.filter((variable) => variable.startsWith(key));
  return found.length === 1 ? found[0]?.slice(key.length) : undefined;
}
