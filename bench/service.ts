/** A service with many guests: what it costs where nothing happens, and how soon headers are true where much does. */
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { Host } from "./service-host.ts";
import { type Findings, measured } from "./stats.ts";

const IDLE_GUESTS = 1000;
const IDLE_SECONDS = 60;
const BUSY_GUESTS = 100;
const DIMMS = 240;
const BUSY_SECONDS = 60;

/** What it costs to keep guests at which nothing happens. */
export async function benchIdle(log: (line: string) => void, signal: AbortSignal): Promise<Findings> {
  await using host = await Host.start({ guests: IDLE_GUESTS, log, signal });
  const before = process.memoryUsage().rss;
  await host.keepAll();
  await delay(5000, undefined, { signal });
  const used = process.cpuUsage();
  const started = performance.now();
  await delay(IDLE_SECONDS * 1000, undefined, { signal });
  const { user, system } = process.cpuUsage(used);
  const share = (user + system) / 10 / (performance.now() - started);
  const { rss } = process.memoryUsage();
  const line = `${IDLE_GUESTS} idle guests: ${mib(rss)} RSS (${mib(before)} before the first), ${share.toFixed(1)} % of a processor in ${IDLE_SECONDS} s; asked: 300 MiB, 5 %; load average ${loadavg()[0]!.toFixed(1)}`;
  return { measurements: [], lines: [line] };
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

/** How soon headers are true at guests that all get memory at a time. */
export async function benchBusy(log: (line: string) => void, signal: AbortSignal): Promise<Findings> {
  await using host = await Host.start({ guests: BUSY_GUESTS, log, signal });
  await host.keepAll();
  const used = process.cpuUsage();
  const started = performance.now();
  const stepMs = (BUSY_SECONDS * 1000) / (DIMMS * BUSY_GUESTS);
  for (let step = 0; step < DIMMS * BUSY_GUESTS; step++) {
    const wait = started + step * stepMs - performance.now();
    if (wait > 1) await delay(wait, undefined, { signal });
    host.ask({ plug: step % BUSY_GUESTS });
  }
  const tookMs = performance.now() - started;
  const { user, system } = process.cpuUsage(used);
  await host.until(() => host.plugs.ms.length >= DIMMS * BUSY_GUESTS, 60_000);
  const { complete, dimms: plugged } = await host.judge();
  const name = `from a DIMM to its header, ${BUSY_GUESTS} guests x ${DIMMS} DIMMs in ${(tookMs / 1000).toFixed(0)} s`;
  return {
    measurements: [measured(name, host.plugs.ms, { of: "p99", ms: 100 })],
    lines: [
      `${BUSY_GUESTS} busy guests: ${plugged} DIMMs, ${complete} of ${BUSY_GUESTS} dumps complete, ${host.installs} installs, ${host.failures} failures; ${((user + system) / 10 / tookMs).toFixed(0)} % of a processor; load average ${loadavg()[0]!.toFixed(1)}`,
    ],
  };
}
