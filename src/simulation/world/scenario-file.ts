/** Scenarios from files: JSON, with units in it, checked before anything runs. */
import * as v from "valibot";
import { q35Blueprint } from "../blueprint.ts";
import { BLOCK_SIZE } from "../dimms.ts";
import { SimulationError } from "../error.ts";
import { DimmPlaces, type DimmPlace } from "./places.ts";
import type { Scenario, ScenarioStep } from "./scenario.ts";

/** A scenario file larger than this is none. */
const MAX_TEXT = 1 << 20;
const MAX_STEPS = 10_000;
const MAX_COUNT = 100_000;
const UNITS = { ms: 1, s: 1000, min: 60_000 } as const;
/** Nobody simulates more than a week. */
const MAX_TIME = 7 * 24 * 3600 * 1000;

function bytesOf(text: string): bigint {
  const shift = text.includes("T") ? 40n : text.includes("G") ? 30n : 20n;
  return BigInt(text.replace(/\D+/, "")) << shift;
}

/** `1G`, `512M`: memory blocks. */
const blocks = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,8}[MGT](iB)?$/, 'expected a size such as "512M" or "1G"'),
  v.check(
    (text) => bytesOf(text) % BLOCK_SIZE === 0n,
    `expected a multiple of a memory block, ${BLOCK_SIZE >> 20n}M`,
  ),
  v.transform((text) => Number(bytesOf(text) / BLOCK_SIZE)),
);
/** `300ms`, `2s`, `1min`: milliseconds. */
const duration = v.pipe(
  v.string(),
  v.regex(/^\d{1,9}(\.\d{1,6})?(ms|s|min)$/, 'expected a time such as "300ms", "2s" or "1min"'),
  v.transform((text) => {
    const [, value = "", unit] = /^([\d.]+)(ms|s|min)$/.exec(text)!;
    return Number(value) * UNITS[unit === "ms" || unit === "s" ? unit : "min"];
  }),
  v.maxValue(MAX_TIME, "expected at most a week"),
);
const count = v.pipe(
  v.number("expected a whole number"),
  v.integer("expected a whole number"),
  v.minValue(1, "expected at least 1"),
  v.maxValue(MAX_COUNT, `expected at most ${MAX_COUNT}`),
);
const address = v.pipe(
  v.string(),
  v.regex(/^0x[0-9a-fA-F]{1,16}$/, 'expected an address such as "0x100000000"'),
  v.transform((text): bigint => BigInt(text)),
);
const pace = v.union([v.literal("settled"), duration], 'expected "settled" or a time such as "300ms"');

/** Each kind of step by the key that names it. */
const STEPS = {
  plug: v.strictObject({
    plug: blocks,
    count: v.optional(count, 1),
    every: v.optional(pace, "settled"),
    address: v.optional(address),
  }),
  unplug: v.strictObject({ unplug: count, every: v.optional(pace, "settled") }),
  addCpus: v.strictObject({ addCpus: count, every: v.optional(duration, "500ms") }),
  removeCpus: v.strictObject({ removeCpus: count, every: v.optional(duration, "500ms") }),
  flapCpu: v.strictObject({ flapCpu: count, every: v.optional(duration, "1s") }),
  coldplug: v.strictObject({ coldplug: v.literal(true, "expected true") }),
  wait: v.strictObject({ wait: duration }),
} as const;
const STEP_KINDS = ["plug", "unplug", "addCpus", "removeCpus", "flapCpu", "coldplug", "wait"] as const;
const noStep = v.pipe(
  v.unknown(),
  v.check(() => false, `expected a step with one of ${STEP_KINDS.join(", ")}`),
  v.transform((): { readonly wait: number } => ({ wait: 0 })),
);

/** By its key, so that what is wrong is told of the step that was meant. */
const step = v.lazy((input) => {
  const keys = typeof input === "object" && input !== null ? Object.keys(input) : [];
  const kind = STEP_KINDS.find((name) => keys.includes(name));
  return kind === undefined ? noStep : STEPS[kind];
});
const file = v.strictObject({
  schemaVersion: v.literal(1, "expected schemaVersion 1"),
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9-]{0,63}$/, "expected a name of a-z, 0-9 and -")),
  title: v.optional(v.pipe(v.string(), v.maxLength(200))),
  bootMemory: v.optional(blocks, "32G"),
  cpus: v.optional(v.pipe(count, v.maxValue(128, "expected at most 128 CPUs")), 8),
  steps: v.pipe(
    v.array(step),
    v.minLength(1, "expected at least one step"),
    v.maxLength(MAX_STEPS, `expected at most ${MAX_STEPS} steps`),
  ),
});

type FileStep = v.InferOutput<typeof step>;

/**
 * Reads a scenario file.
 *
 * @param where - what it is called, for errors.
 * @throws {SimulationError} which names the place in the file, what stands there and what was expected.
 */
export function parseScenario(text: string, where: string): Scenario {
  if (text.length > MAX_TEXT)
    throw new SimulationError(where, `it has ${text.length} characters, a scenario has at most ${MAX_TEXT}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SimulationError(where, `it is no JSON: ${why}`);
  }
  const result = v.safeParse(file, json);
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue);
    const found = JSON.stringify(issue.input)?.slice(0, 60) ?? "nothing";
    throw new SimulationError(`${where}: ${path ?? "the file"}`, `found ${found}, ${issue.message}`);
  }
  const { name, title, bootMemory, cpus } = result.output;
  const scenario: Scenario = {
    name,
    title: title ?? name,
    bootBlocks: bootMemory,
    cpus,
    steps: result.output.steps.map((one, i) => stepOf(one, bootMemory, `${where}: steps.${i}`)),
  };
  checkPlaces(scenario, where);
  return scenario;
}

function stepOf(given: FileStep, bootBlocks: number, where: string): ScenarioStep {
  if ("plug" in given) {
    const at = given.address === undefined ? undefined : blockOf(given.address, bootBlocks, where);
    return { step: "plug", blocks: given.plug, count: given.count, pace: given.every, at };
  }
  if ("unplug" in given) return { step: "unplug", count: given.unplug, pace: given.every };
  if ("addCpus" in given) return { step: "add-cpus", count: given.addCpus, every: given.every };
  if ("removeCpus" in given) return { step: "remove-cpus", count: given.removeCpus, every: given.every };
  if ("flapCpu" in given) return { step: "flap-cpu", times: given.flapCpu, every: given.every };
  if ("coldplug" in given) return { step: "coldplug" };
  return { step: "wait", time: given.wait };
}

/** A physical address as a block of hot-pluggable memory. */
function blockOf(physical: bigint, bootBlocks: number, where: string): number {
  const { hotBase } = q35Blueprint({ ram: BigInt(bootBlocks) * BLOCK_SIZE, crash: 0n, high: false });
  const offset = physical - hotBase;
  if (offset < 0n)
    throw new SimulationError(
      where,
      `the address 0x${physical.toString(16)} overlaps boot memory and its devices, hot-pluggable memory begins at 0x${hotBase.toString(16)}`,
    );
  if (offset % BLOCK_SIZE !== 0n)
    throw new SimulationError(
      where,
      `the address 0x${physical.toString(16)} is no multiple of a memory block, 0x${BLOCK_SIZE.toString(16)}`,
    );
  return Number(offset / BLOCK_SIZE);
}

/** Goes through the steps without time: DIMMs that do not fit, and removals of what is not there, are found now. */
function checkPlaces({ steps, cpus }: Scenario, where: string): void {
  const places = new DimmPlaces();
  const there: DimmPlace[] = [];
  let added = 0;
  for (const [i, one] of steps.entries()) {
    const at = `${where}: steps.${i}`;
    try {
      if (one.step === "plug")
        for (let dimm = 0; dimm < one.count; dimm++)
          there.push(places.take(one.blocks, one.at === undefined ? undefined : one.at + dimm * one.blocks));
    } catch (error) {
      if (!(error instanceof SimulationError)) throw error;
      throw new SimulationError(at, error.message.replace(/^Cannot simulate /, ""));
    }
    if (one.step === "unplug") {
      if (one.count > there.length)
        throw new SimulationError(at, `it takes out ${one.count} DIMMs, and ${there.length} are there`);
      for (const place of there.splice(-one.count)) places.free(place);
    } else if (one.step === "add-cpus") added += one.count;
    else if (one.step === "remove-cpus") {
      if (one.count > added)
        throw new SimulationError(
          at,
          `it removes ${one.count} CPUs, and ${added} of ${cpus + added} were added`,
        );
      added -= one.count;
    }
  }
}
