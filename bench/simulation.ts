/** The rules engine and the simulation: what they take, in time and memory. */
import { makeEvent } from "../src/rules/event.ts";
import { ONLINE_RHEL8 } from "../src/rules/policies/onlining.ts";
import { ruleSetOf } from "../src/rules/policies/policy.ts";
import { RHEL8 } from "../src/rules/policies/rhel.ts";
import { parseDialect } from "../src/rules/dialect.ts";
import { DEFAULT_COSTS, plainCosts } from "../src/simulation/world/costs.ts";
import { POLICIES } from "../src/simulation/world/policy.ts";
import { compareWithRfc } from "../src/simulation/world/rfc-comparison.ts";
import { sweep } from "../src/simulation/world/sweep.ts";
import { type Measurement, measured, time } from "./stats.ts";

const EVENTS = 50_000;
const SCENARIOS = 1_000;

/** A second's worth of events, if the engine does what is asked of it. */
export async function benchRules(): Promise<readonly Measurement[]> {
  const rules = ruleSetOf([ONLINE_RHEL8, RHEL8], parseDialect("239"));
  const kernel = { crashHotplug: "absent" } as const;
  const all = (): void => {
    for (let i = 0; i < EVENTS; i++) {
      const action = i % 2 === 0 ? "add" : "online";
      rules.evaluate(makeEvent({ action, devpath: `/devices/system/memory/memory${i >> 1}` }, { kernel }));
    }
  };
  return [
    measured(`${EVENTS} events through RHEL 8's rules`, await time(10, all), { of: "median", ms: 1000 }),
  ];
}

export async function benchSimulation(signal: AbortSignal): Promise<readonly Measurement[]> {
  const costs = plainCosts(DEFAULT_COSTS);
  const check = (): void => signal.throwIfAborted();
  const many = (): unknown => sweep({ policies: POLICIES, costs, count: SCENARIOS, seed: 1, check });
  return [
    measured("simulate rfc: 2 scenarios, all policies, 3840 blocks", await time(5, compareWithRfc, 0), {
      of: "max",
      ms: 2000,
    }),
    measured(`sweep of ${SCENARIOS} scenarios, all policies`, await time(1, many, 0), {
      of: "max",
      ms: 60_000,
    }),
  ];
}
