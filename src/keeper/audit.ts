/** Is what the capture kernel would be told true? */
import { cpuNotes } from "../elfcore/kinds.ts";
import { hex } from "../elfcore/hex.ts";
import { hasParameter } from "../image/command-line.ts";
import type { Sha256 } from "../image/hash.ts";
import { type CaptureImage, locateImage, type LocateHints, type Location } from "../image/locate.ts";
import { type UndescribedCpu, undescribedCpus } from "../layout/cpu-notes.ts";
import { compareWithLayout } from "../layout/described.ts";
import { hotpluggableMemory, type MachineLayout } from "../layout/machine.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { Machine } from "./machine.ts";

/**
 * - `accurate`: a panic now gives a dump with everything that the machine has;
 * - `inaccurate`: the dump would lack memory or CPUs, or claim what is gone;
 * - `not-loaded`: there would be no dump, no capture kernel is loaded;
 * - `broken`: there would be no dump, the digest does not match and purgatory would spin;
 * - `unknown`: it cannot be told, `reason` says why.
 */
export type Verdict = "accurate" | "inaccurate" | "not-loaded" | "broken" | "unknown";

/** The answer to "is that true?" for one machine at one moment. */
export interface Audit {
  readonly verdict: Verdict;
  /** One sentence: what was found and, where something is wrong, what to do. */
  readonly reason: string;
  readonly image: CaptureImage | undefined;
  readonly layout: MachineLayout;
  readonly missing: RangeSet;
  readonly stale: RangeSet;
  readonly cpus: CpuAudit;
  /** Things that would spoil the dump although the header is true. */
  readonly warnings: readonly string[];
}

/**
 * What a dump would have of the CPUs' registers.
 *
 * From outside, the hypervisor says how many CPUs are there, and the kernel's tables where their notes are; which of
 * the kernel's CPUs a device has become is said by neither, so CPUs that are missing are counted. (Where a CPU was
 * removed and another one added, both since the load, the count is right and the new one is missing all the same: a
 * header with a note for every possible CPU cannot go wrong so.) The note of a CPU that is gone is harmless: its
 * memory belongs to that CPU number for as long as the kernel runs, and a note that nobody fills is left out of a dump.
 */
export interface CpuAudit {
  readonly present: number;
  /** Notes in the header. */
  readonly described: number;
  /** CPUs that the kernel may ever have; undefined where `unknown` says why. */
  readonly possible: number | undefined;
  /** Hot-added CPUs of which `present - described` have no note; empty where none is missing. */
  readonly missing: readonly string[];
  /** Possible CPUs of which the header has no note, there or not. */
  readonly undescribed: readonly UndescribedCpu[];
  /** Why the notes of CPUs that the header lacks are not known, and what would make them known. */
  readonly unknown: string | undefined;
}

/** Looks at `machine` and judges. */
export async function auditMachine(
  machine: Machine,
  sha256: Sha256,
  hints: LocateHints = {},
): Promise<Audit> {
  const location = await locateImage(machine.memory, sha256, hints);
  return judge(location, await machine.layout());
}

/** What a look at the image alone gives: `image`, or why there is none. */
export interface Inspection {
  readonly image: CaptureImage | undefined;
  readonly reason: string;
}

/** Looks at the image of `machine` only: what else the machine has is not asked for. */
export async function inspectMachine(
  machine: Pick<Machine, "memory">,
  sha256: Sha256,
  hints: LocateHints = {},
): Promise<Inspection> {
  const location = await locateImage(machine.memory, sha256, hints);
  return location.found === "image"
    ? { image: location.image, reason: "" }
    : { image: undefined, reason: judgeNothing(location).reason };
}

/** Judges what {@link locateImage} found against the layout of the same moment. */
export function judge(location: Location, layout: MachineLayout): Audit {
  if (location.found === "image") return judgeImage(location.image, layout);
  return {
    ...judgeNothing(location),
    image: undefined,
    layout,
    missing: RangeSet.empty,
    stale: RangeSet.empty,
    cpus: {
      present: presentCpus(layout).length,
      described: 0,
      possible: undefined,
      missing: [],
      undescribed: [],
      unknown: undefined,
    },
    warnings: [],
  };
}

function judgeNothing(
  location: Exclude<Location, { readonly found: "image" }>,
): Pick<Audit, "verdict" | "reason"> {
  switch (location.found) {
    case "no-crash-memory":
      return {
        verdict: "not-loaded",
        reason: `The guest's kernel (${location.kernel.vmcoreinfo.release}) has reserved no crash memory; boot it with crashkernel=256M and load a capture kernel`,
      };
    case "nothing-loaded":
      return {
        verdict: "not-loaded",
        reason: `Crash memory (${location.kernel.crashMemory.toString()}) is reserved, but no capture kernel is loaded${location.leftover === undefined ? "" : ` (the core header at ${hex(location.leftover)} is left over from one that was)`}; load one in the guest with kexec -p`,
      };
    case "unknown":
      return {
        verdict: "unknown",
        reason: `It cannot be told what a panic would give: ${location.reason}`,
      };
  }
}

function judgeImage(image: CaptureImage, layout: MachineLayout): Audit {
  const { missing, stale } = compareWithLayout(image.header, layout);
  const cpus = auditCpus(image, layout);
  const found = { image, layout, missing, stale, cpus, warnings: warningsFor(image, layout) };
  if (image.loaded === "unconfirmed") {
    return {
      ...found,
      verdict: "unknown",
      reason: `A capture image lies at ${hex(image.headerAddress)}, but the kernel's pointer to it was not found: it cannot be told whether it is loaded`,
    };
  }
  if (image.usedCpuNote !== undefined) {
    return {
      ...found,
      verdict: "unknown",
      reason: `The guest has panicked: its CPU note at ${hex(image.usedCpuNote)} is in use, so the capture kernel runs already or is about to; look at its console, and audit again after the next boot`,
    };
  }
  if (image.digest.state === "mismatch") {
    return {
      ...found,
      verdict: "broken",
      reason:
        "The digest of the loaded image does not match its segments: a panic would hang in purgatory; reload the capture kernel in the guest",
    };
  }
  const lacks = [
    missing.isEmpty ? "" : `lack ${missing.toString()}`,
    cpus.present > cpus.described ? `lack the registers of ${cpus.present - cpus.described} CPUs` : "",
    stale.isEmpty ? "" : `claim ${stale.toString()}, which is gone`,
  ].filter((text) => text !== "");
  if (lacks.length === 0 && image.digest.state === "not-found") {
    return {
      ...found,
      verdict: "unknown",
      reason:
        "The header is true, but the digest that purgatory checks was not found in the loaded image: a panic may hang there; reload the capture kernel in the guest, and audit again",
    };
  }
  return lacks.length === 0
    ? { ...found, verdict: "accurate", reason: truth(cpus) }
    : {
        ...found,
        verdict: "inaccurate",
        reason: `A dump would ${lacks.join(" and ")}; ${remedy(image, !(missing.isEmpty && stale.isEmpty), cpus)}`,
      };
}

function truth({ undescribed, possible }: CpuAudit): string {
  const told = "The loaded capture kernel would be told the truth";
  return undescribed.length === 0
    ? told
    : `${told}; of ${possible} CPUs that the kernel may have, ${undescribed.length} have no note in the header yet, which kdump-hotplug keep adds as far as there is room`;
}

function remedy(image: CaptureImage, memory: boolean, cpus: CpuAudit): string {
  const lacksCpus = cpus.present > cpus.described;
  const reload = "reload the capture kernel in the guest";
  if (!isCorrectable(image)) return reload;
  if (lacksCpus && cpus.unknown !== undefined)
    return memory ? `kdump-hotplug keep corrects the memory, for the CPUs ${reload}` : reload;
  return "kdump-hotplug keep corrects that";
}

/** Whether a new header may be installed: the image is known to be loaded, and can be armed again. */
export function isCorrectable(image: CaptureImage): boolean {
  return (
    image.loaded === "yes" &&
    image.usedCpuNote === undefined &&
    (image.digest.state === "covers-header" || image.digest.state === "excludes-header")
  );
}

function warningsFor(image: CaptureImage, layout: MachineLayout): readonly string[] {
  const warnings: string[] = [];
  if (image.commandLine === undefined) {
    warnings.push("The capture kernel's command line was not found in the image, so it could not be checked");
  } else if (
    !hasParameter(image.commandLine.text, "acpi_no_memhotplug") &&
    // Before the first DIMM is the time to load again.
    (layout.canGrow !== false || !hotpluggableMemory(layout).isEmpty)
  ) {
    warnings.push(
      "The capture kernel's command line lacks acpi_no_memhotplug: it would take hot-added memory as its own RAM, and reading it from /proc/vmcore would fail; add it and load again",
    );
  }
  if (image.digest.state === "not-found") {
    warnings.push(
      "The image's digest was not found, so it could not be checked and the header cannot be changed",
    );
  }
  return warnings;
}

function auditCpus({ header, possibleCpus }: CaptureImage, layout: MachineLayout): CpuAudit {
  const present = presentCpus(layout);
  const described = cpuNotes(header).length;
  const hotAdded = present.flatMap(({ qomPath }) =>
    qomPath?.startsWith("/machine/peripheral") === true ? [qomPath] : [],
  );
  const counts = { present: present.length, described, missing: present.length > described ? hotAdded : [] };
  if (possibleCpus.state === "known") {
    const { notes } = possibleCpus;
    return {
      ...counts,
      possible: notes.length,
      undescribed: undescribedCpus(header, notes),
      unknown: undefined,
    };
  }
  return {
    ...counts,
    possible: undefined,
    undescribed: [],
    unknown: `Where the notes of other CPUs than the described are is not known: ${possibleCpus.reason}; a load of the capture kernel when they are there makes it known`,
  };
}

function presentCpus(layout: MachineLayout): MachineLayout["cpus"] {
  return layout.cpus.filter((cpu) => cpu.present);
}
