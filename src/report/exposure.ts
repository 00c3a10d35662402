/** How long a machine is blind or stale after a change, in words: with the last load's duration where a log tells it. */
import { formatBytes } from "../layout/range.ts";
import type { Change, Exposure, Stale } from "../rules/exposure.ts";
import type { LoadCost } from "../targets/local/load-cost.ts";
import type { LoadSpan } from "../targets/local/last-load.ts";
import type { LocalPolicy } from "../targets/local/policy.ts";
import { printable } from "./text.ts";

/** For people. */
export const CHANGE_NAMES: Readonly<Record<Change, string>> = {
  "memory-added": "memory comes",
  "memory-removed": "memory goes",
  "cpu-added": "a CPU comes",
  "cpu-removed": "a CPU goes",
};

/** A span's duration: its milliseconds, or its seconds where the log has no others. */
export function spanText({
  ms,
  resolutionMs,
}: {
  readonly ms: number;
  readonly resolutionMs: number;
}): string {
  if (resolutionMs >= 1000) return `${Math.round(ms / 1000)} s, give or take 1 s`;
  return ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : `${ms.toFixed(0)} ms`;
}

/** What one change means, as a sentence without a full stop. */
export function exposureText(exposure: Exposure, policy: LocalPolicy): string {
  const { stale, change } = exposure;
  const what = change.endsWith("added") ? "a dump lacks it" : "a dump still describes it";
  const stales: Readonly<Record<Stale, string>> = {
    no: "",
    "until-loaded": `; until then ${what}`,
    "until-settled-and-loaded": `; until then, that is for 1 s to 4 s and the reload, ${what}`,
    "until-next-event": `; ${what} until the next event of memory, where the kernel is as 6.12 (seen on 6.12.107)`,
    "for-good": `; ${what} until somebody loads a capture kernel again`,
  };
  return `${blindText(exposure, policy)}${stales[stale]}`;
}

function blindText(exposure: Exposure, policy: LocalPolicy): string {
  const { blind, change, loads } = exposure;
  const { crashLoaded } = policy.facts;
  if (crashLoaded === false)
    return loads
      ? "no dump until it has loaded a capture kernel: none is loaded now"
      : "no dump, before and afterwards: no capture kernel is loaded, and nothing loads one";
  switch (blind) {
    case "no":
      return crashLoaded === true
        ? "the capture kernel stays loaded all the time"
        : "what is loaded stays loaded";
    case "unloaded":
      return "no dump from then on: it unloads the capture kernel, and nothing loads it again";
    case "kernel-rewrite":
      return `no dump while the kernel rewrites the header with the kexec lock held (unmeasured), once for each ${deviceText(change, policy)}`;
    case "load-over":
      return `no dump during the system call of one load over the loaded image${loadOver(policy.cost)}, ${repeatsText(exposure, policy)}`;
    case "reload":
      return `no dump ${reload(policy.cost)}, ${repeatsText(exposure, policy)}`;
  }
}

function deviceText(change: Change, { blockSize }: LocalPolicy): string {
  if (change.startsWith("cpu")) return "CPU";
  return blockSize === undefined ? "memory block" : `memory block of ${formatBytes(blockSize)}`;
}

const GIB = 1n << 30n;

function repeatsText(exposure: Exposure, policy: LocalPolicy): string {
  const { repeats, change, times } = exposure;
  if (repeats === "settled") return "once for all that changes together";
  if (repeats === "coalesced") return "and again while events come in";
  const each = `${times === 1 ? "once" : `${times} times`} for each ${deviceText(change, policy)}`;
  const { blockSize } = policy;
  if (!change.startsWith("memory") || blockSize === undefined || blockSize >= GIB) return each;
  const count = times * Number(GIB / blockSize);
  const { span } = policy.cost;
  const sum = span?.what === "reload" ? `, ${((count * span.ms) / 1000).toFixed(1)} s in all` : "";
  return `${each} (for 1 GiB ${count} times${sum})`;
}

/** Of another kind than what was measured: only the order of magnitude is the same. */
function likeLast({ what, ms, resolutionMs }: LoadSpan): string {
  const names = { reload: "reload", load: "load", start: "start of the service" };
  return `the last ${names[what]} took ${spanText({ ms, resolutionMs })}`;
}

function reload({ span }: LoadCost): string {
  if (span?.what === "reload") return `for ${spanText(span)}, one reload (unload, then load)`;
  return `during one reload (unload, then load; ${span === undefined ? "unmeasured" : likeLast(span)})`;
}

function loadOver({ span }: LoadCost): string {
  return span === undefined ? " (unmeasured)" : `, a part of it (${likeLast(span)})`;
}

/** What the figures rest on, or why there are none. */
export function costText({ span, files, reasons }: LoadCost): string {
  const names = files.map(({ path, bytes }) => `${printable(path)} (${formatBytes(BigInt(bytes))})`);
  const copied = names.length === 0 ? "" : `it reads and copies ${names.join(" and ")}`;
  if (span === undefined) {
    const why = reasons.length === 0 ? "no log tells" : reasons.map(printable).join("; ");
    return `unmeasured${copied === "" ? "" : `: ${copied}`} (${why})`;
  }
  const what = {
    reload: 'from "unloaded" to "loaded"',
    load: "one call of kexec",
    start: "the start of the service, with all that it checks",
  }[span.what];
  const initrd = span.madeInitrd ? ", and made the initrd, which the next one need not" : "";
  return `${spanText(span)}: ${what}${initrd}, by ${printable(span.source)}, ${printable(span.time)}${copied === "" ? "" : `; ${copied}`}`;
}
