/** What `udevadm monitor` in the guest saw of memory: when the kernel told of an event, when udevd was done with it. */
import { parseMonitorLine } from "../targets/local/udevadm-text.ts";
import type { AgentChannel } from "./channel.ts";
import { LostGuestError, MeasurementError } from "./errors.ts";

const PATH = "/run/lab/monitor";

/** One uevent of a memory block. Times are milliseconds of the guest's monotonic clock. */
export interface MemoryEvent {
  readonly action: string;
  /** N of `memoryN`. */
  readonly block: number;
  /** When the kernel told of it. */
  readonly told: number;
  /** When udevd had handled it, rules and programs included; undefined where it had not yet. */
  readonly done: number | undefined;
}

/** Starts the monitor, and waits until it listens. It costs the guest two lines of output for each event. */
export async function startMonitor(agent: AgentChannel): Promise<void> {
  await agent.output(
    `mkdir -p /run/lab; setsid udevadm monitor --kernel --udev --subsystem-match=memory </dev/null >${PATH} 2>&1 &`,
  );
  const deadline = performance.now() + 10_000;
  // It says this once its sockets are there.
  while ((await agent.run(`grep -q '^KERNEL - ' ${PATH}`)).status !== 0) {
    if (performance.now() > deadline) throw new LostGuestError("udevadm monitor did not start within 10 s");
  }
}

/** 3,840 blocks are a megabyte of text, which comes over a serial port. */
const READ_TIMEOUT_MS = 300_000;

/** Everything that the monitor has seen. */
export async function readMonitor(agent: AgentChannel): Promise<readonly MemoryEvent[]> {
  return parseMonitor(await agent.output(`cat ${PATH}`, READ_TIMEOUT_MS));
}

/**
 * Reads `KERNEL[SECONDS] ACTION DEVPATH (memory)` and `UDEV  [SECONDS] ...` lines; others are headings. The two come
 * over two sockets, so that udevd's word of an event may be printed before the kernel's.
 *
 * @returns the kernel's events in their order.
 * @throws {MeasurementError} where udevd was done with an event that the kernel had not told of: some were lost.
 */
export function parseMonitor(text: string): readonly MemoryEvent[] {
  const told: MemoryEvent[] = [];
  /** Of each action on each block, when udevd was done with it, one after the other. */
  const done = new Map<string, number[]>();
  for (const line of text.split("\n")) {
    const event = parseMonitorLine(line);
    const block = event && /\/memory\/memory(\d+)$/.exec(event.devpath)?.[1];
    if (event === undefined || event.subsystem !== "memory" || block === undefined) continue;
    const { source, action } = event;
    const at = event.seconds * 1000;
    if (source === "KERNEL") told.push({ action, block: Number(block), told: at, done: undefined });
    else done.set(`${action} ${block}`, [...(done.get(`${action} ${block}`) ?? []), at]);
  }
  const events = told.map((event) => ({
    ...event,
    done: done.get(`${event.action} ${event.block}`)?.shift(),
  }));
  for (const [event, times] of done) {
    if (times.length > 0)
      throw new MeasurementError(`udevadm monitor lost the kernel's "${event}" of memory`);
  }
  return events;
}
