/**
 * The part of the library that imports nothing from Node: `import { ... } from "kdump-hotplug/pure"`. It runs in a
 * browser, and wherever else there are bytes and `bigint`. SHA-256 is a port ({@link Sha256}) for those parts that hash.
 *
 * @packageDocumentation
 */

// Headers: what a capture kernel is told, as bytes and as values.
export {
  buildCoreHeader,
  type CoreHeaderInput,
  type KernelTextLocation,
  type NoteLocation,
  type RamRange,
} from "./elfcore/build.ts";
export {
  compareCoreHeaders,
  type CoreHeaderDifference,
  type ProgramHeaderChange,
  type ProgramHeaderEntry,
} from "./elfcore/compare.ts";
export { decodeCoreHeader, programHeaderCount } from "./elfcore/decode.ts";
export { encodeCoreHeader } from "./elfcore/encode.ts";
export { CoreHeaderError, type CoreHeaderProblem } from "./elfcore/error.ts";
export { type CoreHeader, type ProgramHeader, PT_LOAD, PT_NOTE } from "./elfcore/header.ts";
export { kindsOf, type ProgramHeaderKind } from "./elfcore/kinds.ts";

// Layouts: what a machine has.
export { compareWithLayout, describedMemory, type LayoutDifference } from "./layout/described.ts";
export { LayoutError } from "./layout/error.ts";
export { crashKernel, type IomemEntry, kernelImage, parseIomem, systemRam } from "./layout/iomem.ts";
export {
  type InsideLayout,
  type MachineLayout,
  machineLayoutFromQmp,
  machineLayoutFromSysfs,
  type QmpLayoutSources,
  type SysfsLayoutSources,
} from "./layout/machine.ts";
export {
  type HotpluggableCpu,
  type MemoryDevice,
  type MemoryDeviceKind,
  parseHotpluggableCpus,
  parseMemoryDevices,
} from "./layout/qmp.ts";
export { RangeSet } from "./layout/range-set.ts";
export { formatBytes, formatRange, halfOpen, inclusiveRange, type PhysicalRange } from "./layout/range.ts";
export {
  type Cpus,
  type CrashNotes,
  type MemoryBlock,
  type MemoryBlocks,
  type MemoryBlockState,
  readCpus,
  readMemoryBlocks,
  type ReadTree,
  readVmcoreinfoNote,
} from "./layout/sysfs.ts";
export { wantedHeader } from "./layout/wanted.ts";

// Images: where a header lies in memory, what guards it, and what would have to be written.
export type { CaptureCommandLine } from "./image/command-line.ts";
export { type DigestFinding, DigestPrefix } from "./image/digest.ts";
export { ImageError, type ImageErrorKind } from "./image/error.ts";
export type { RunningHash, Sha256 } from "./image/hash.ts";
export {
  type CaptureImage,
  type HashedImage,
  locateImage,
  type LocateHints,
  type Location,
} from "./image/locate.ts";
export { MemoryAccessError, type PhysicalMemory } from "./image/memory.ts";
export { type PlannedWrite, planInstall, type WritePlan } from "./image/plan.ts";

// Keeper: a header is compared with the layout, and made true.
export { type Audit, auditMachine, type CpuAudit, type Verdict } from "./keeper/audit.ts";
export { install, type InstallReport } from "./keeper/install.ts";
export { Keeper, type Reconciled, type Updated } from "./keeper/keeper.ts";
export type {
  AllocatedDimm,
  Machine,
  PausedWork,
  PluggableMachine,
  WatchedMachine,
} from "./keeper/machine.ts";
export { plugMemory, type Plugged } from "./keeper/plug.ts";

// The simulated machine: bytes that a capture kernel, its loader and its purgatory would find right.
export { SimulationError } from "./simulation/error.ts";
export { type MachineSpec, parseSpec } from "./simulation/spec.ts";
export { SimulatedTarget } from "./targets/simulated/machine.ts";

// Rules: what udev rules do to kdump.
export type { CrashHotplug, KernelSpec } from "./rules/device.ts";
export { type Dialect, dialectOf, type SystemdVersion } from "./rules/dialect.ts";
export { describeEffect, effectOf, type EventEffect } from "./rules/effect.ts";
export { RulesError } from "./rules/error.ts";
export { type EvaluateOptions, RuleSet } from "./rules/evaluate.ts";
export {
  type EventSpec,
  type EventSurroundings,
  makeEvent,
  parseEventSpec,
  type UdevEvent,
} from "./rules/event.ts";
export { checkRules, type CheckOptions, type Finding, type FindingId } from "./rules/findings.ts";
export type { LineOutcome, Outcome } from "./rules/outcome.ts";
export { type RuleDirectoryEntry, type RuleSource, selectRuleFiles } from "./rules/source.ts";
export { type ProgramResult, type UnknownProgram, type World, worldOfPrograms } from "./rules/world.ts";
