/** Simulated machines for the tests: small ones, which are scanned in no time. */
import type { PhysicalRange } from "../../src/layout/range.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import type { PanicResult } from "../../src/simulation/panic.ts";
import { buildMachine, parseSpec } from "../../src/simulation/spec.ts";
import type { Vmcore } from "../../src/simulation/vmcore.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";

/** 256 MiB of RAM and 16 MiB of crash memory. */
export const SMALL = "ram=256M,crash=16M";
export const BLOCK: bigint = 128n << 20n;
/** Where hot-added memory of a small machine begins. */
export const HOT: bigint = 4n << 30n;

/** The machine that `text` describes, small. */
export function machineOf(text: string): SimulatedMachine {
  const [kernel, ...parts] = text.split(",");
  return buildMachine(parseSpec([kernel, SMALL, ...parts].join(",")), nodeSha256);
}

/** The same behind the keeper's port. */
export function targetOf(text: string): SimulatedTarget {
  return new SimulatedTarget(`sim:${text}`, machineOf(text));
}

/** The dump of a panic that must give one. */
export function dumpOf(result: PanicResult): Vmcore {
  if (result.kind !== "vmcore") throw new Error(`The panic gave no dump: ${JSON.stringify(result)}`);
  return result.vmcore;
}

/** `count` DIMM places of one block, from place `first` on. */
export function places(first: number, count = 1): PhysicalRange {
  return { start: HOT + BigInt(first) * BLOCK, end: HOT + BigInt(first + count) * BLOCK };
}
