/**
 * A simulated machine as short text, which follows `sim:` on the command line.
 *
 * `KERNEL[,PART…]`: settings (`ram=2G`) hold from the start, wherever they stand; steps (`dimm=1G`) are taken one after the
 * other once the capture kernel is loaded.
 */
import type { Sha256 } from "../image/hash.ts";
import { q35Blueprint } from "./blueprint.ts";
import type { Paging } from "./control-pages.ts";
import { SimulationError } from "./error.ts";
import { type KernelModel, KERNELS } from "./kernels.ts";
import type { LoadCall } from "./load.ts";
import { DEFAULT_LOAD, SimulatedMachine } from "./machine.ts";

/** One thing that happens to the machine. */
export type SpecStep =
  | { readonly step: "dimm"; readonly size: bigint }
  | { readonly step: "unplug"; readonly id: string }
  | { readonly step: "pin"; readonly id: string }
  | { readonly step: "cpu" }
  | { readonly step: "online" }
  | { readonly step: "load" }
  | { readonly step: "unload" };

/** What a text describes. Sizes in bytes. */
export interface MachineSpec {
  readonly kernel: KernelModel;
  readonly ram: bigint;
  readonly crash: bigint;
  readonly high: boolean;
  /** Words `la57` and `nogbpages`: five levels of page tables, no pages of 1 GiB. */
  readonly paging: Paging;
  readonly cpus: number;
  readonly possible: number;
  readonly slots: number;
  readonly call: LoadCall;
  /** Whether a capture kernel is loaded before the steps. */
  readonly loaded: boolean;
  /** Whether the capture kernel's command line has acpi_no_memhotplug. */
  readonly noMemhotplug: boolean;
  readonly autoOnline: boolean;
  readonly steps: readonly SpecStep[];
}

/** What can be said, for help and errors. */
export const SPEC_FORM =
  "KERNEL[,ram=2G][,cpus=2][,possible=8][,crash=256M][,high][,la57][,nogbpages][,slots=256][,load=kexec_file_load|kexec_load][,noload][,memhotplug][,manual-online] and steps dimm=1G, unplug=dimm0, pin=dimm0, online, cpu, reload, unload";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
/** Takes a part's value into the description; gives back what was expected where it cannot. */
type Reader = (spec: Mutable<MachineSpec>, value: string | undefined) => string | undefined;

/** The notes of more CPUs would not fit below the place where crash memory may begin (see blueprint.ts). */
const MAX_CPUS = 128;
/** QEMU has 256; the RFC's scenarios have 480 DIMMs. */
const MAX_SLOTS = 4096;

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ["ram", sized((spec, size) => (spec.ram = size))],
  ["crash", sized((spec, size) => (spec.crash = size))],
  ["cpus", counted(MAX_CPUS, (spec, count) => (spec.cpus = count))],
  ["possible", counted(MAX_CPUS, (spec, count) => (spec.possible = count))],
  ["slots", counted(MAX_SLOTS, (spec, count) => (spec.slots = count))],
  ["high", word((spec) => (spec.high = true))],
  ["la57", word((spec) => (spec.paging = { ...spec.paging, levels: 5 }))],
  ["nogbpages", word((spec) => (spec.paging = { ...spec.paging, gibPages: false }))],
  ["noload", word((spec) => (spec.loaded = false))],
  ["memhotplug", word((spec) => (spec.noMemhotplug = false))],
  ["manual-online", word((spec) => (spec.autoOnline = false))],
  [
    "load",
    (spec, value) => {
      if (value !== "kexec_file_load" && value !== "kexec_load")
        return "load=kexec_file_load or load=kexec_load";
      spec.call = value;
      return undefined;
    },
  ],
  ["dimm", sized((spec, size) => addStep(spec, { step: "dimm", size }))],
  ["unplug", named("unplug")],
  ["pin", named("pin")],
  ["online", word((spec) => addStep(spec, { step: "online" }))],
  ["cpu", word((spec) => addStep(spec, { step: "cpu" }))],
  ["reload", word((spec) => addStep(spec, { step: "load" }))],
  ["unload", word((spec) => addStep(spec, { step: "unload" }))],
]);
const UNIT_SHIFTS: ReadonlyMap<string, bigint> = new Map([
  ["M", 20n],
  ["G", 30n],
  ["T", 40n],
]);
/** More parts than anybody writes: a text made by a program gone wrong ends here. */
const MAX_PARTS = 4096;

/**
 * Reads a description such as `6.1` or `6.12,load=kexec_load,ram=2G,dimm=1G,dimm=1G`.
 *
 * @throws {SimulationError} which names the part and its place, and what was expected there.
 */
export function parseSpec(text: string): MachineSpec {
  const [name = "", ...parts] = text.split(",");
  const kernel = KERNELS.find((model) => model.name === name);
  if (!kernel) {
    const known = KERNELS.map((model) => model.name).join(", ");
    throw new SimulationError(
      JSON.stringify(text.slice(0, 80)),
      `it begins with ${JSON.stringify(name.slice(0, 40))}, expected a kernel: ${known}`,
    );
  }
  const spec: Mutable<MachineSpec> = {
    kernel,
    ram: 2n << 30n,
    crash: 256n << 20n,
    high: false,
    paging: { levels: 4, gibPages: true },
    cpus: 2,
    possible: 8,
    slots: 256,
    call: "kexec_file_load",
    loaded: true,
    noMemhotplug: true,
    autoOnline: true,
    steps: [],
  };
  if (parts.length > MAX_PARTS)
    throw new SimulationError("that text", `it has ${parts.length} parts, at most ${MAX_PARTS} are read`);
  let at = name.length + 1;
  for (const part of parts) {
    const [key = "", ...rest] = part.split("=");
    const reader = READERS.get(key);
    const expected = reader
      ? reader(spec, rest.length === 0 ? undefined : rest.join("="))
      : `one of ${[...READERS.keys()].join(", ")}`;
    if (expected !== undefined)
      throw new SimulationError(
        `${JSON.stringify(part.slice(0, 40))} at character ${at + 1}`,
        `expected ${expected}`,
      );
    at += part.length + 1;
  }
  if (spec.cpus > spec.possible) spec.possible = spec.cpus;
  return spec;
}

/**
 * Builds the machine and takes its steps.
 *
 * @throws {SimulationError} where it cannot exist, or a step is one that a real machine would refuse.
 */
export function buildMachine(spec: MachineSpec, sha256: Sha256): SimulatedMachine {
  const machine = new SimulatedMachine({
    blueprint: q35Blueprint(spec),
    kernel: spec.kernel,
    sha256,
    cpus: { present: spec.cpus, possible: spec.possible },
    slots: spec.slots,
    autoOnline: spec.autoOnline,
  });
  const { commandLine } = DEFAULT_LOAD;
  const request = {
    call: spec.call,
    commandLine: spec.noMemhotplug ? commandLine : commandLine.replace("acpi_no_memhotplug ", ""),
  };
  if (spec.loaded) machine.load(request);
  for (const step of spec.steps) {
    if (step.step === "dimm") machine.plugDimm(step.size);
    else if (step.step === "unplug") machine.unplug(step.id);
    else if (step.step === "pin") machine.pin(step.id);
    else if (step.step === "online") machine.online();
    else if (step.step === "cpu") machine.addCpu();
    else if (step.step === "load") machine.load(request);
    else machine.unload();
  }
  return machine;
}

function addStep(spec: Mutable<MachineSpec>, added: SpecStep): undefined {
  spec.steps = [...spec.steps, added];
}

function named(step: "unplug" | "pin"): Reader {
  return (spec, value) =>
    value ? addStep(spec, { step, id: value }) : `the name of a DIMM, such as ${step}=dimm0`;
}

function sized(take: (spec: Mutable<MachineSpec>, size: bigint) => void): Reader {
  return (spec, value) => {
    const match = /^(\d{1,9})([MGT])$/.exec(value ?? "");
    if (!match || BigInt(match[1]!) === 0n) return "a size such as 512M or 2G";
    take(spec, BigInt(match[1]!) << UNIT_SHIFTS.get(match[2]!)!);
    return undefined;
  };
}

function counted(most: number, take: (spec: Mutable<MachineSpec>, count: number) => void): Reader {
  return (spec, value) => {
    const count = /^\d{1,4}$/.test(value ?? "") ? Number(value) : 0;
    if (count < 1 || count > most) return `a whole number from 1 to ${most}`;
    take(spec, count);
    return undefined;
  };
}

function word(take: (spec: Mutable<MachineSpec>) => void): Reader {
  return (spec, value) => {
    if (value !== undefined) return "no value";
    take(spec);
    return undefined;
  };
}
