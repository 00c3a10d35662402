/** Is what the capture kernel would be told true? */
import type { CoreHeader } from "../elfcore/header.ts";
import { cpuNotes } from "../elfcore/kinds.ts";
import { hex } from "../elfcore/hex.ts";
import { hasParameter } from "../image/command-line.ts";
import type { Sha256 } from "../image/hash.ts";
import { type CaptureImage, locateImage, type LocateHints, type Location } from "../image/locate.ts";
import { type UndescribedCpu, undescribedCpus } from "../layout/cpu-notes.ts";
import { compareWithLayout } from "../layout/described.ts";
import { hotpluggableMemory, type MachineLayout } from "../layout/machine.ts";
import type { CrashNotes } from "../layout/sysfs.ts";
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
 * From inside, sysfs has the note of each CPU that is there, and those that the header lacks are missing. From outside,
 * the hypervisor says how many CPUs are there, and the kernel's tables where their notes are; which of
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
  /**
   * CPUs that have no note (`cpu3`); from outside, the hot-added ones of which `present - described` have none. Empty
   * where none is missing.
   */
  readonly missing: readonly string[];
  /** Possible CPUs of which the header has no note, there or not. */
  readonly undescribed: readonly UndescribedCpu[];
  /** Why the notes of CPUs that the header lacks are not known, and what would make them known. */
  readonly unknown: string | undefined;
}

/**
 * Looks at `machine` and judges.
 *
 * @param hints where to look, for those who know; everything is checked, nothing is taken on trust.
 * @returns the verdict, why, and what is missing and stale.
 * @throws what the machine's own side throws; {@link ImageError} where a hint leads to no core header.
 * @example
 * ```ts
 * import { auditMachine, nodeSha256, parseSpec, SimulatedTarget } from "kdump-hotplug";
 *
 * const machine = SimulatedTarget.open("sim:6.1", parseSpec("6.1"), nodeSha256);
 * const { verdict, missing, cpus } = await auditMachine(machine, nodeSha256);
 * console.log(verdict, missing.isEmpty, cpus.described); // accurate true 2
 * ```
 */
export async function auditMachine(
  machine: Machine,
  sha256: Sha256,
  hints: LocateHints = {},
): Promise<Audit> {
  const look = async (): Promise<Audit> =>
    judge(await locateImage(machine.memory, sha256, hints), await machine.layout());
  const seen = await look();
  // A kernel hides its image for as long as it changes it, and what is loaded while it is hashed does not match: a look
  // that met that is not believed before the next one says the same.
  return seen.verdict === "not-loaded" || seen.verdict === "broken" ? await look() : seen;
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
    : { image: undefined, reason: judgeNothing(location, {}).reason };
}

/** Judges what {@link locateImage} found against the layout of the same moment. */
export function judge(location: Location, layout: MachineLayout): Audit {
  if (location.found === "image") return judgeImage(location.image, layout);
  return {
    ...judgeNothing(location, layout),
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
  layout: Pick<MachineLayout, "inside">,
): Pick<Audit, "verdict" | "reason"> {
  const { kernel, there } = wordsFor(layout);
  switch (location.found) {
    case "no-crash-memory":
      return {
        verdict: "not-loaded",
        reason: `${kernel} (${location.kernel.vmcoreinfo.release}) has reserved no crash memory; boot it with crashkernel=256M and load a capture kernel`,
      };
    case "nothing-loaded":
      return {
        verdict: "not-loaded",
        reason: `Crash memory (${location.kernel.crashMemory.toString()}) is reserved, but no capture kernel is loaded${location.leftover === undefined ? "" : ` (the core header at ${hex(location.leftover)} is left over from one that was)`}; load one${there} with kexec -p`,
      };
    case "unknown":
      return {
        verdict: "unknown",
        reason: `It cannot be told what a panic would give: ${location.reason}`,
      };
  }
}

/** How a machine is spoken of: a guest that is seen from outside, or the machine that we run in. */
function wordsFor({ inside }: Pick<MachineLayout, "inside">): {
  readonly kernel: string;
  readonly machine: string;
  readonly there: string;
} {
  return inside
    ? { kernel: "This kernel", machine: "This machine", there: "" }
    : { kernel: "The guest's kernel", machine: "The guest", there: " in the guest" };
}

function judgeImage(image: CaptureImage, layout: MachineLayout): Audit {
  const { missing, stale } = compareWithLayout(image.header, layout);
  const { machine, there } = wordsFor(layout);
  const cpus = auditCpus(image, layout);
  const lacking = lackingCpus(cpus, layout);
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
      reason: `${machine} has panicked: its CPU note at ${hex(image.usedCpuNote)} is in use, so the capture kernel runs already or is about to; look at its console, and audit again after the next boot`,
    };
  }
  if (image.digest.state === "mismatch") {
    return {
      ...found,
      verdict: "broken",
      reason: `The digest of the loaded image does not match its segments: a panic would hang in purgatory; reload the capture kernel${there}`,
    };
  }
  const lacks = [
    missing.isEmpty ? "" : `lack ${missing.toString()}`,
    lacking > 0 ? `lack the registers of ${lacking} CPUs` : "",
    stale.isEmpty ? "" : `claim ${stale.toString()}, which is gone`,
  ].filter((text) => text !== "");
  if (lacks.length === 0 && image.digest.state === "not-found") {
    return {
      ...found,
      verdict: "unknown",
      reason: `The header is true, but the digest that purgatory checks was not found in the loaded image: a panic may hang there; reload the capture kernel${there}, and audit again`,
    };
  }
  return lacks.length === 0
    ? { ...found, verdict: "accurate", reason: truth(cpus, layout) }
    : {
        ...found,
        verdict: "inaccurate",
        reason: `A dump would ${lacks.join(" and ")}; ${remedy(image, !(missing.isEmpty && stale.isEmpty), cpus, layout)}`,
      };
}

function truth({ undescribed, possible }: CpuAudit, { inside }: MachineLayout): string {
  const told = "The loaded capture kernel would be told the truth";
  if (undescribed.length === 0) return told;
  const lack = `${told}; of ${possible} CPUs that the kernel may have, ${undescribed.length} have no note in the header yet`;
  return inside
    ? `${lack}, which kdump-hotplug keep local adds once one of them is there`
    : `${lack}, which kdump-hotplug keep adds as far as there is room`;
}

function remedy(image: CaptureImage, memory: boolean, cpus: CpuAudit, layout: MachineLayout): string {
  const reload = `reload the capture kernel${wordsFor(layout).there}`;
  if (!isCorrectable(image)) return reload;
  if (layout.inside) return "kdump-hotplug keep local corrects that";
  if (lackingCpus(cpus, layout) > 0 && cpus.unknown !== undefined)
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
  const described = cpuNotes(header).length;
  const counts = { present: presentCpus(layout).length, described, missing: missingCpus(header, layout) };
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

/** Names of CPUs without a note, as {@link CpuAudit.missing} has them. */
function missingCpus(header: CoreHeader, layout: MachineLayout): readonly string[] {
  const notes = notesOfPresentCpus(layout);
  if (notes) {
    const described = new Set(cpuNotes(header).map(({ p_paddr }) => p_paddr));
    return [...notes].flatMap(([cpu, { address }]) => (described.has(address) ? [] : [`cpu${cpu}`]));
  }
  const present = presentCpus(layout);
  if (present.length <= cpuNotes(header).length) return [];
  return present.flatMap(({ qomPath }) =>
    qomPath?.startsWith("/machine/peripheral") === true ? [qomPath] : [],
  );
}

/** How many CPUs that are there have no note. */
function lackingCpus({ present, described, missing }: CpuAudit, layout: MachineLayout): number {
  return notesOfPresentCpus(layout) ? missing.length : Math.max(0, present - described);
}

/** The notes of all CPUs that are there, by sysfs; undefined where it does not say all of them. */
function notesOfPresentCpus(layout: MachineLayout): ReadonlyMap<number, CrashNotes> | undefined {
  const notes = layout.inside?.cpuNotes;
  return notes?.size === presentCpus(layout).length ? notes : undefined;
}

function presentCpus(layout: MachineLayout): MachineLayout["cpus"] {
  return layout.cpus.filter((cpu) => cpu.present);
}
