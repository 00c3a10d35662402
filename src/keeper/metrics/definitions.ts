/**
 * Every metric that a keeper gives to monitoring: the one place where their names, labels and units are written down.
 * docs/metrics.md is made from it, and alert rules and dashboard are checked against it.
 */

/** Begins every name. Also those of the process: a text file stands beside the node exporter's own `process_*`. */
const PREFIX = "kdump_hotplug_";

/** What every definition has. */
interface Definition<L extends MetricLabel> {
  /** Whole, with {@link PREFIX}. */
  readonly name: string;
  /** One sentence, without a full stop. */
  readonly help: string;
  /** Base units only, as Prometheus wants it; undefined where things are counted, or nothing is. */
  readonly unit?: "seconds" | "bytes";
  readonly labels: readonly L[];
  /** What has to be known to read it right; whole sentences. */
  readonly note?: string;
}

export interface CounterDefinition<L extends MetricLabel> extends Definition<L> {
  readonly type: "counter";
}

export interface GaugeDefinition<L extends MetricLabel> extends Definition<L> {
  readonly type: "gauge";
}

/** One for all targets: a series for each bucket of each of a thousand guests would be more than what they say. */
export interface HistogramDefinition extends Definition<never> {
  readonly type: "histogram";
  /** Upper bounds, in the metric's unit. */
  readonly buckets: readonly number[];
}

export type MetricDefinition =
  CounterDefinition<MetricLabel> | GaugeDefinition<MetricLabel> | HistogramDefinition;

/** A label of a metric. */
export type MetricLabel = "target" | "verdict" | "way" | "result" | "reason" | "state" | "version" | "node";

/** What each label says; its values are few and known, except for targets. */
export const LABELS: Readonly<Record<MetricLabel, string>> = {
  target: "the guest as it was given or found, `qmp:/run/guests/a.sock`",
  verdict:
    "`accurate`, `inaccurate` (a dump would lack memory or CPUs, or claim what is gone), `not-loaded`, `broken` (a panic would hang in purgatory), `unknown`",
  way: "`in-place`, or `move` where the header went to another place in crash memory; of `local` `re-arm` or `full-load`; `unknown` where it failed before that was told",
  result:
    "`done`, or why nothing was installed: `changed`, `header-too-large`, `outside-image`, `panicking`, `unsafe-rearm`, `half-written`",
  reason: "a class of reasons: a handful of words, never a sentence with addresses in it",
  state: "`watched`, or `unreachable`",
  version: "of kdump-hotplug",
  node: "the version of Node.js that runs it",
};

/** Pauses: the promise is about a millisecond where RAM is a shared file, some milliseconds where it is not. */
export const PAUSE_BUCKETS: readonly number[] = [
  0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1,
];
/** Reactions: milliseconds where an event tells of the change; seconds, and worse, where QEMU does not answer. */
export const REACTION_BUCKETS: readonly number[] = [
  0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];

export const BUILD_INFO: GaugeDefinition<"version" | "node"> = {
  type: "gauge",
  name: `${PREFIX}build_info`,
  help: "Always 1; the labels say what runs",
  labels: ["version", "node"],
};

export const PROCESS_START_TIME_SECONDS: GaugeDefinition<never> = {
  type: "gauge",
  name: `${PREFIX}process_start_time_seconds`,
  help: "When the keeper's process began, since 1970",
  unit: "seconds",
  labels: [],
};

export const PROCESS_CPU_SECONDS_TOTAL: CounterDefinition<never> = {
  type: "counter",
  name: `${PREFIX}process_cpu_seconds_total`,
  help: "Processor time of the keeper's process, user and system",
  unit: "seconds",
  labels: [],
};

export const PROCESS_RESIDENT_MEMORY_BYTES: GaugeDefinition<never> = {
  type: "gauge",
  name: `${PREFIX}process_resident_memory_bytes`,
  help: "Resident memory of the keeper's process",
  unit: "bytes",
  labels: [],
  note: "The RAM of guests that are mapped or read is not in it, apart from what is being looked at.",
};

export const TARGETS: GaugeDefinition<"state"> = {
  type: "gauge",
  name: `${PREFIX}targets`,
  help: "Targets by whether they can be watched",
  labels: ["state"],
};

export const TARGET_UP: GaugeDefinition<"target"> = {
  type: "gauge",
  name: `${PREFIX}target_up`,
  help: "1 where the target is watched, 0 where it cannot be reached",
  labels: ["target"],
  note: "A target that has ended, or is not wanted any more, has no series at all.",
};

export const TARGET_VERDICT: GaugeDefinition<"target" | "verdict"> = {
  type: "gauge",
  name: `${PREFIX}target_verdict`,
  help: "1 for the verdict that holds, 0 for the four others",
  labels: ["target", "verdict"],
  note: "`unknown` until the first look, while the target cannot be reached, and after a look that failed until one succeeds. It is the last one that was hashed; after an install, which was read back, `accurate` until the image has been hashed again. A change that was corrected before there was a verdict on it does not show here, but in the reaction time.",
};

export const TARGET_BLIND_SECONDS_TOTAL: CounterDefinition<"target"> = {
  type: "counter",
  name: `${PREFIX}target_blind_seconds_total`,
  help: "Time during which a panic would have given no dump: verdict not-loaded or broken",
  unit: "seconds",
  labels: ["target"],
};

export const TARGET_STALE_SECONDS_TOTAL: CounterDefinition<"target"> = {
  type: "counter",
  name: `${PREFIX}target_stale_seconds_total`,
  help: "Time during which a panic would have given a dump that lacks something or claims what is gone",
  unit: "seconds",
  labels: ["target"],
  note: "The verdict inaccurate, and the reaction times of changes that were corrected before there was a verdict. A change that no event told of is seen at the next look; for how long it was there before is not known, and not counted.",
};

export const TARGET_UNKNOWN_SECONDS_TOTAL: CounterDefinition<"target"> = {
  type: "counter",
  name: `${PREFIX}target_unknown_seconds_total`,
  help: "Time during which it could not be told what a panic would give",
  unit: "seconds",
  labels: ["target"],
};

export const TARGET_MISSING_BYTES: GaugeDefinition<"target"> = {
  type: "gauge",
  name: `${PREFIX}target_missing_bytes`,
  help: "Memory that the target has and a dump would lack, at the last verdict or install",
  unit: "bytes",
  labels: ["target"],
};

export const TARGET_STALE_BYTES: GaugeDefinition<"target"> = {
  type: "gauge",
  name: `${PREFIX}target_stale_bytes`,
  help: "Memory that the header describes and the target does not have, at the last verdict or install",
  unit: "bytes",
  labels: ["target"],
};

export const TARGET_MISSING_CPUS: GaugeDefinition<"target"> = {
  type: "gauge",
  name: `${PREFIX}target_missing_cpus`,
  help: "CPUs that the target has and whose registers a dump would lack, at the last verdict or install",
  labels: ["target"],
};

export const TARGET_WARNINGS: GaugeDefinition<"target"> = {
  type: "gauge",
  name: `${PREFIX}target_warnings`,
  help: "Things that would spoil the dump although the header is true, at the last verdict or install",
  labels: ["target"],
  note: "`audit TARGET` says them in words; a capture kernel without acpi_no_memhotplug is one.",
};

export const INSTALLS_TOTAL: CounterDefinition<"way" | "result"> = {
  type: "counter",
  name: `${PREFIX}installs_total`,
  help: "Headers that were installed, and attempts at it that failed",
  labels: ["way", "result"],
};

export const REACTION_SECONDS: HistogramDefinition = {
  type: "histogram",
  name: `${PREFIX}reaction_seconds`,
  help: "From a change being told of until the header was right",
  unit: "seconds",
  labels: [],
  buckets: REACTION_BUCKETS,
};

export const PAUSE_SECONDS: HistogramDefinition = {
  type: "histogram",
  name: `${PREFIX}pause_seconds`,
  help: "For how long a guest stood still for an install, by its own clock",
  unit: "seconds",
  labels: [],
  buckets: PAUSE_BUCKETS,
  note: "Installs into guests that stood still already are not in it.",
};

export const WRITTEN_BYTES_TOTAL: CounterDefinition<never> = {
  type: "counter",
  name: `${PREFIX}written_bytes_total`,
  help: "Bytes that were written to crash memory",
  unit: "bytes",
  labels: [],
};

export const FAILURES_TOTAL: CounterDefinition<"target" | "reason"> = {
  type: "counter",
  name: `${PREFIX}failures_total`,
  help: "What kept a header from being looked at or corrected",
  labels: ["target", "reason"],
  note: "The same failure, look after look, is counted once. `reason` is a kind of broken or changing image (`changed`, `forged`, `half-written`, ...), `lost` (the guest ended or does not answer), `busy` (another keeper is at work), `run-state` (the guest could not be paused or resumed), `qmp`, `gdb`, `memory`, `system` (an error of the operating system), or `other`.",
};

export const ADOPT_FAILURES_TOTAL: CounterDefinition<"target" | "reason"> = {
  type: "counter",
  name: `${PREFIX}adopt_failures_total`,
  help: "Images whose header cannot be given the notes of all possible CPUs",
  labels: ["target", "reason"],
  note: "Counted once for each image that the guest loads. `reason`: `no-kernel` (nothing says where the kernel's tables are), `no-table` (the per-CPU table was not found), `table-gone`, `notes-elsewhere` (header and table contradict each other), `outside-ram`, or `other`. CPUs that are added later are in such a dump without their registers; loading the capture kernel again when they are there describes them.",
};

export const RESUMED_TOTAL: CounterDefinition<never> = {
  type: "counter",
  name: `${PREFIX}resumed_total`,
  help: "Guests that an earlier keeper had paused and not resumed, and that run again",
  labels: [],
};

export const JOURNAL_WAITING_ENTRIES: GaugeDefinition<never> = {
  type: "gauge",
  name: `${PREFIX}journal_waiting_entries`,
  help: "Journal entries that are not on the disk yet",
  labels: [],
  note: "More than a few, at two readings in a row, is a disk that is full, gone or slow.",
};

export const JOURNAL_LOST_ENTRIES_TOTAL: CounterDefinition<never> = {
  type: "counter",
  name: `${PREFIX}journal_lost_entries_total`,
  help: "Journal entries that were given up because the disk did not take them",
  labels: [],
};

export const JOURNAL_LATE_INSTALLS_TOTAL: CounterDefinition<never> = {
  type: "counter",
  name: `${PREFIX}journal_late_installs_total`,
  help: "Installs that went on without their journal entry being on the disk",
  labels: [],
  note: "A header that is late costs more than an entry; after a crash of the host in that moment the journal does not say what was written.",
};

/** All of them, in the order in which docs/metrics.md has them. */
export const METRICS: readonly MetricDefinition[] = [
  BUILD_INFO,
  PROCESS_START_TIME_SECONDS,
  PROCESS_CPU_SECONDS_TOTAL,
  PROCESS_RESIDENT_MEMORY_BYTES,
  TARGETS,
  TARGET_UP,
  TARGET_VERDICT,
  TARGET_BLIND_SECONDS_TOTAL,
  TARGET_STALE_SECONDS_TOTAL,
  TARGET_UNKNOWN_SECONDS_TOTAL,
  TARGET_MISSING_BYTES,
  TARGET_STALE_BYTES,
  TARGET_MISSING_CPUS,
  TARGET_WARNINGS,
  INSTALLS_TOTAL,
  REACTION_SECONDS,
  PAUSE_SECONDS,
  WRITTEN_BYTES_TOTAL,
  FAILURES_TOTAL,
  ADOPT_FAILURES_TOTAL,
  RESUMED_TOTAL,
  JOURNAL_WAITING_ENTRIES,
  JOURNAL_LOST_ENTRIES_TOTAL,
  JOURNAL_LATE_INSTALLS_TOTAL,
];
