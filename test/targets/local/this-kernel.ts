/** What the kernel under the tests lets them do; those that need more are skipped with the reason. */
import { readdirSync, writeFileSync } from "node:fs";
import { loadSystemCalls } from "../../../src/targets/local/system-calls.ts";
import { openUeventSocket } from "../../../src/targets/local/uevent-socket.ts";

/** A write of "change" makes the kernel tell of it again: the event is real, and nothing changes. */
const UEVENT = "/sys/devices/system/memory/memory0/uevent";

/** Makes `count` real events of memory. */
export function makeEvents(count = 1): void {
  for (let i = 0; i < count; i++) writeFileSync(UEVENT, "change");
}

/** Makes a real event of a device that does not matter here. */
export function makeOtherEvent(): void {
  writeFileSync("/sys/devices/virtual/mem/null/uevent", "change");
}

/** Why no system calls can be made here; undefined where they can. */
export async function noCalls(): Promise<string | undefined> {
  return await loadSystemCalls().then(
    () => undefined,
    (error: Error) => error.message,
  );
}

/** Why no real events can be heard here; undefined where they can. */
export async function noEvents(): Promise<string | undefined> {
  try {
    using _ = openUeventSocket(await loadSystemCalls());
    makeEvents();
    makeOtherEvent();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** How many descriptors this process has open. */
export function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
