/** Listens to a service, and has its metrics: what holds now, and what has been counted. */
import { bytesWritten } from "../../image/plan.ts";
import type { RangeSet } from "../../layout/range-set.ts";
import { type Audit, type CpuAudit, isCorrectable, type Verdict } from "../audit.ts";
import type { InsideInstall } from "../inside.ts";
import type { InstallReport } from "../install.ts";
import type { ServiceEvent, ServiceListener, TargetEvent } from "../service-event.ts";
import {
  ADOPT_FAILURES_TOTAL,
  BUILD_INFO,
  FAILURES_TOTAL,
  INSTALLS_TOTAL,
  JOURNAL_LATE_INSTALLS_TOTAL,
  JOURNAL_LOST_ENTRIES_TOTAL,
  JOURNAL_WAITING_ENTRIES,
  PAUSE_SECONDS,
  PROCESS_CPU_SECONDS_TOTAL,
  PROCESS_RESIDENT_MEMORY_BYTES,
  PROCESS_START_TIME_SECONDS,
  REACTION_SECONDS,
  RESUMED_TOTAL,
  TARGETS,
  TARGET_BLIND_SECONDS_TOTAL,
  TARGET_MISSING_BYTES,
  TARGET_MISSING_CPUS,
  TARGET_STALE_BYTES,
  TARGET_STALE_SECONDS_TOTAL,
  TARGET_UNKNOWN_SECONDS_TOTAL,
  TARGET_UP,
  TARGET_VERDICT,
  TARGET_WARNINGS,
  WRITTEN_BYTES_TOTAL,
} from "./definitions.ts";
import { Instruments } from "./instruments.ts";
import { ownProcess, type ProcessFigures } from "./process-figures.ts";
import { adoptReason, failureReason, isOfInstall } from "./reasons.ts";
import { TargetAccount } from "./target-account.ts";

const VERDICTS: readonly Verdict[] = ["accurate", "inaccurate", "not-loaded", "broken", "unknown"];

/** Time that was spent, by what a panic would have given. */
const SECONDS = {
  blind: TARGET_BLIND_SECONDS_TOTAL,
  stale: TARGET_STALE_SECONDS_TOTAL,
  unknown: TARGET_UNKNOWN_SECONDS_TOTAL,
};

/** One series for each target. */
const OF_EACH_TARGET = [
  TARGET_UP,
  ...Object.values(SECONDS),
  TARGET_MISSING_BYTES,
  TARGET_STALE_BYTES,
  TARGET_MISSING_CPUS,
  TARGET_WARNINGS,
];

/** How far the journal is behind. */
export interface JournalLag {
  /** Entries that wait for the disk. */
  readonly waiting: number;
  /** Entries that were given up, since the journal was opened. */
  readonly lost: number;
  /** Installs that did not wait for the disk any longer, since then. */
  readonly late: number;
}

export interface ServiceMetricsOptions {
  readonly version: string;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
  /** Asked at each reading. */
  readonly journalLag?: () => JournalLag;
  readonly process?: ProcessFigures;
}

/** Who is asked for the metrics: the HTTP server, the text file. */
export interface MetricsSource {
  readonly contentType: string;
  text(): Promise<string>;
}

interface Target {
  readonly account: TargetAccount;
  up: boolean;
  /** Series that only some targets have, by their reason. */
  readonly failures: Set<string>;
  readonly adoptFailures: Set<string>;
  /** The last image that could not be adopted. */
  unadopted: string | undefined;
}

/** Metrics of one keeper; a {@link ServiceListener} that never throws for what an event says. */
export class ServiceMetrics implements ServiceListener, MetricsSource {
  readonly #instruments = new Instruments();
  readonly #targets = new Map<string, Target>();
  readonly #now: () => number;
  readonly #process: ProcessFigures;
  #journalLag: (() => JournalLag) | undefined;
  #cpuMicroseconds = 0;
  /** What has been counted of the journal's own counters. */
  #journal = { lost: 0, late: 0 };

  constructor(options: ServiceMetricsOptions) {
    this.#now = options.now ?? (() => performance.now());
    this.#process = options.process ?? ownProcess();
    this.#journalLag = options.journalLag;
    const node = process.versions.node;
    this.#instruments.set(BUILD_INFO, { version: options.version, node }, 1);
    this.#instruments.set(PROCESS_START_TIME_SECONDS, {}, this.#process.startedAt / 1000);
    // Series that are there from the start can be told from ones that never were: increase() needs a first value.
    for (const way of ["in-place", "move"]) this.#instruments.add(INSTALLS_TOTAL, { way, result: "done" }, 0);
  }

  /** From now on the journal is asked through `lag`. */
  watchJournal(lag: () => JournalLag): void {
    this.#journalLag = lag;
  }

  onEvent({ target: name, event }: ServiceEvent): void {
    if (event.kind === "gone") {
      this.#forget(name);
      return;
    }
    const target = this.#targets.get(name) ?? this.#meet(name);
    this.#hear(name, target, event);
    this.#countTargets();
  }

  async text(): Promise<string> {
    this.#refresh();
    return this.#instruments.text();
  }

  get contentType(): string {
    return this.#instruments.contentType;
  }

  #hear(name: string, target: Target, event: Exclude<TargetEvent, { kind: "gone" }>): void {
    switch (event.kind) {
      case "found":
        this.#reach(name, target, true);
        break;
      case "unreachable":
        this.#reach(name, target, false);
        this.#judge(name, target, "unknown");
        break;
      case "resumed":
        this.#instruments.add(RESUMED_TOTAL, {});
        break;
      case "verdict":
        // Who judges has reached it.
        this.#reach(name, target, true);
        this.#judge(name, target, event.audit.verdict);
        this.#describe(name, target, event.audit);
        break;
      case "installed":
        this.#count(target, event.before, event.installed, event.reactionMs);
        this.#corrected(name, target, event.before);
        break;
      case "failed":
        this.#fail(name, target, failureReason(event.error));
        break;
    }
  }

  #meet(name: string): Target {
    const labels = { target: name };
    for (const metric of Object.values(SECONDS)) this.#instruments.add(metric, labels, 0);
    const account = new TargetAccount(this.#now(), (exposure, ms) => {
      this.#instruments.add(SECONDS[exposure], labels, ms / 1000);
    });
    const target: Target = {
      account,
      up: true,
      failures: new Set(),
      adoptFailures: new Set(),
      unadopted: undefined,
    };
    this.#targets.set(name, target);
    this.#reach(name, target, true);
    this.#judge(name, target, "unknown");
    return target;
  }

  #forget(name: string): void {
    const target = this.#targets.get(name);
    if (!target) return;
    const labels = { target: name };
    for (const verdict of VERDICTS) this.#instruments.remove(TARGET_VERDICT, { ...labels, verdict });
    for (const reason of target.failures) this.#instruments.remove(FAILURES_TOTAL, { ...labels, reason });
    for (const reason of target.adoptFailures)
      this.#instruments.remove(ADOPT_FAILURES_TOTAL, { ...labels, reason });
    for (const metric of OF_EACH_TARGET) this.#instruments.remove(metric, labels);
    this.#targets.delete(name);
    this.#countTargets();
  }

  #reach(name: string, target: Target, up: boolean): void {
    target.up = up;
    this.#instruments.set(TARGET_UP, { target: name }, up ? 1 : 0);
  }

  #judge(name: string, { account }: Target, verdict: Verdict): void {
    account.judged(verdict, this.#now());
    for (const each of VERDICTS)
      this.#instruments.set(TARGET_VERDICT, { target: name, verdict: each }, each === verdict ? 1 : 0);
  }

  #describe(name: string, target: Target, audit: Audit): void {
    const labels = { target: name };
    this.#instruments.set(TARGET_MISSING_BYTES, labels, bytesOf(audit.missing));
    this.#instruments.set(TARGET_STALE_BYTES, labels, bytesOf(audit.stale));
    this.#instruments.set(TARGET_MISSING_CPUS, labels, audit.image ? lackingCpus(audit.cpus) : 0);
    this.#instruments.set(TARGET_WARNINGS, labels, audit.warnings.length);
    const { image } = audit;
    if (!image || audit.cpus.unknown === undefined || !isCorrectable(image)) {
      target.unadopted = undefined;
      return;
    }
    const key = `${image.headerAddress} ${image.kimage?.address}`;
    if (target.unadopted === key) return;
    target.unadopted = key;
    const reason = adoptReason(audit.cpus.unknown);
    target.adoptFailures.add(reason);
    this.#instruments.add(ADOPT_FAILURES_TOTAL, { ...labels, reason });
  }

  #count(
    { account }: Target,
    before: Audit,
    installed: InstallReport | InsideInstall,
    reactionMs: number | undefined,
  ): void {
    this.#instruments.add(INSTALLS_TOTAL, { way: wayOf(installed), result: "done" });
    if ("way" in installed) {
      account.blind(installed.callMs);
    } else {
      const { writes, pauseMicroseconds } = installed;
      this.#instruments.add(WRITTEN_BYTES_TOTAL, {}, bytesWritten(writes));
      if (pauseMicroseconds !== undefined && pauseMicroseconds >= 0)
        this.#instruments.observe(PAUSE_SECONDS, pauseMicroseconds / 1e6);
    }
    if (reactionMs === undefined || !(reactionMs >= 0)) return;
    this.#instruments.observe(REACTION_SECONDS, reactionMs / 1000);
    account.corrected(before.verdict, reactionMs, this.#now());
  }

  /**
   * What an install left. It was read back, and where it is worth a verdict of its own that comes once the image has
   * been hashed, which may have to wait; until then what was wrong before is not wrong any more.
   */
  #corrected(name: string, target: Target, { verdict, cpus }: Audit): void {
    const labels = { target: name };
    const lacking = cpus.unknown === undefined ? 0 : lackingCpus(cpus);
    this.#judge(name, target, lacking > 0 ? verdict : "accurate");
    this.#instruments.set(TARGET_MISSING_BYTES, labels, 0);
    this.#instruments.set(TARGET_STALE_BYTES, labels, 0);
    this.#instruments.set(TARGET_MISSING_CPUS, labels, lacking);
  }

  #fail(name: string, target: Target, reason: string): void {
    target.failures.add(reason);
    this.#instruments.add(FAILURES_TOTAL, { target: name, reason });
    if (isOfInstall(reason)) this.#instruments.add(INSTALLS_TOTAL, { way: "unknown", result: reason });
    // A look that failed says nothing, and what was seen before it may not hold any more: the next verdict is told.
    else this.#judge(name, target, "unknown");
  }

  #countTargets(): void {
    let watched = 0;
    for (const { up } of this.#targets.values()) if (up) watched++;
    this.#instruments.set(TARGETS, { state: "watched" }, watched);
    this.#instruments.set(TARGETS, { state: "unreachable" }, this.#targets.size - watched);
  }

  /** What changes without an event. */
  #refresh(): void {
    const now = this.#now();
    for (const { account } of this.#targets.values()) account.advance(now);
    this.#countTargets();
    const cpu = this.#process.cpuMicroseconds();
    this.#instruments.add(PROCESS_CPU_SECONDS_TOTAL, {}, Math.max(0, cpu - this.#cpuMicroseconds) / 1e6);
    this.#cpuMicroseconds = Math.max(cpu, this.#cpuMicroseconds);
    this.#instruments.set(PROCESS_RESIDENT_MEMORY_BYTES, {}, this.#process.residentBytes());
    const { waiting, lost, late } = this.#journalLag?.() ?? { waiting: 0, lost: 0, late: 0 };
    this.#instruments.set(JOURNAL_WAITING_ENTRIES, {}, waiting);
    this.#instruments.add(JOURNAL_LOST_ENTRIES_TOTAL, {}, Math.max(0, lost - this.#journal.lost));
    this.#instruments.add(JOURNAL_LATE_INSTALLS_TOTAL, {}, Math.max(0, late - this.#journal.late));
    this.#journal = { lost, late };
  }
}

/** A header that moved is named by other boot parameters. */
function wayOf(installed: InstallReport | InsideInstall): "in-place" | "move" | InsideInstall["way"] {
  if ("way" in installed) return installed.way;
  return installed.writes.some(({ what }) => what === "command-line") ? "move" : "in-place";
}

/** CPUs that are there and have no note. */
function lackingCpus({ present, described, missing }: CpuAudit): number {
  return Math.max(missing.length, present - described, 0);
}

/** As a double has it: 2^53 bytes are 8 PiB. */
function bytesOf(ranges: RangeSet): number {
  return Number(ranges.bytes);
}
