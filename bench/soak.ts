/**
 * A service with guests that get and lose memory for a quarter of an hour, with the journal and the metrics that `keep`
 * has: whether its memory grows. What is measured is the whole process, this bench's own counting with it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { openMetrics } from "../src/cli/open-metrics.ts";
import { Journal } from "../src/keeper/journal/journal.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { collectGarbage } from "../test/collect-garbage.ts";
import { Host } from "./service-host.ts";
import { type Findings, measured } from "./stats.ts";

const GUESTS = 100;
/** Of all guests together. */
const CHANGES_PER_SECOND = 8;
/** When memory is measured, counted from the first change. */
const MINUTES = [1, 5, 15] as const;
/** As Prometheus does unless told. */
const SCRAPE_EVERY_MS = 15_000;
/** For the last changes to be described. */
const SETTLE_MS = 120_000;

/** How much of it; smaller to try it out. */
export interface SoakSize {
  readonly guests: number;
  readonly minutes: readonly number[];
}

/** Keeps them, and measures at each of `minutes`; the last one ends it. */
export async function benchSoak(
  log: (line: string) => void,
  signal: AbortSignal,
  { guests, minutes }: SoakSize = { guests: GUESTS, minutes: MINUTES },
): Promise<Findings> {
  const directory = await mkdtemp(join(tmpdir(), "kdh-soak-"));
  try {
    await using journal = await Journal.open({ directory, sha256: nodeSha256, say: log });
    await using metrics = await openMetrics(
      { listen: "0" },
      { version: "bench", say: log, notAlive: () => undefined, journalLag: () => journal.lag },
    );
    await using host = await Host.start({
      guests,
      log,
      signal,
      journal,
      listeners: [journal, ...metrics.listeners],
    });
    await host.keepAll();
    using _ = every(SCRAPE_EVERY_MS, () => host.ask({ scrape: metrics.url! }));
    const used = process.cpuUsage();
    const started = performance.now();
    const lines = [`before the first change: ${memory()}`];
    let changes = 0;
    for (const minute of minutes) {
      while (performance.now() - started < minute * 60_000) {
        const wait = started + (changes * 1000) / CHANGES_PER_SECOND - performance.now();
        if (wait > 1) await delay(wait, undefined, { signal });
        host.ask({ change: changes++ % guests });
      }
      const line = `after ${minute} minutes and ${changes} changes: ${memory()}; load average ${loadavg()[0]!.toFixed(1)}`;
      log(line);
      lines.push(line);
    }
    const { user, system } = process.cpuUsage(used);
    const share = (user + system) / 10 / (performance.now() - started);
    const { complete, exact, dimms } = await settled(host, changes, log);
    const { waiting, lost, late } = journal.lag;
    lines.push(
      `${guests} guests: ${dimms} DIMMs at the end, ${complete} dumps complete, ${exact} of them without anything that is gone; ${host.installs} installs, ${host.failures} failures; journal: ${waiting} waiting, ${lost} lost, ${late} late; ${share.toFixed(0)} % of a processor`,
    );
    return {
      measurements: [
        measured("soak: from a DIMM to its header", host.plugs.ms),
        measured("soak: from the end of a DIMM to the header without it", host.removals.ms),
      ],
      lines,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What a panic would give once all of `changes` are described, or after {@link SETTLE_MS}. */
async function settled(host: Host, changes: number, log: (line: string) => void): ReturnType<Host["judge"]> {
  const isDone = (): boolean =>
    host.changes === changes && host.plugs.pending === 0 && host.removals.pending === 0;
  // Not judged until then: while they are, the guests answer nobody, and on a busy machine installs fail by that.
  await host.until(isDone, SETTLE_MS).catch((error: unknown) => log(String(error)));
  return await host.judge();
}

/** Resident memory as it is, and what is left when all garbage is gone: what grows there is a leak. */
function memory(): string {
  const { rss } = process.memoryUsage();
  collectGarbage();
  const left = process.memoryUsage();
  return `${mib(rss)} RSS; without garbage ${mib(left.heapUsed)} in V8's heap, ${mib(left.external)} in buffers, ${mib(left.rss)} RSS (V8's heap has taken ${mib(left.heapTotal)})`;
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function every(ms: number, work: () => void): Disposable {
  const timer = setInterval(work, ms);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
