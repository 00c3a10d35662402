/** One story of memory that goes, for the simulated machine and for real kernels alike. */
import { expect } from "vitest";
import type { Audit } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import type { UnpluggableMachine } from "../../src/keeper/machine.ts";
import { dimmsNamed, unplugMemory, type Unplugged } from "../../src/keeper/unplug.ts";
import { describedMemory } from "../../src/layout/described.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";

/** A DIMM on the stage. */
export interface StageDimm {
  readonly name: string;
  readonly range: PhysicalRange;
}

/** A machine with a loaded image, and what happens to it without us. */
export interface RemovalStage {
  readonly machine: UnpluggableMachine;
  /** Plugs a DIMM of that many blocks of 128 MiB; resolves once it is online. `movable`: the guest can give it up. */
  plug(blocks: number, kind: "movable" | "in use"): Promise<StageDimm>;
  /** Puts the last block of a DIMM offline, from inside of the guest. */
  offlineLastBlock(dimm: StageDimm): Promise<void>;
  /** Somebody else removes it; resolves once it is gone. */
  removeByOthers(dimm: StageDimm): Promise<void>;
}

/** What there was to see. */
export interface RemovalRecord {
  /** Right after somebody else's removal, before any correction: what the guest's kernel has made of its header. */
  readonly uncorrected: Audit;
  readonly refused: Unplugged;
  readonly removed: Unplugged;
  /** DIMMs that are gone. */
  readonly gone: RangeSet;
  /** The one that stays. */
  readonly kept: PhysicalRange;
}

const LIMIT_MS = 60_000;

function described({ image }: Audit): RangeSet {
  return describedMemory(image!.header);
}

/**
 * Three DIMMs: the first is partly offline, then somebody else removes it; the second is in use and refused; we remove
 * the third. After each step the header must describe what is there, and after each correction nothing else.
 */
export async function playRemoval(
  stage: RemovalStage,
  beforeRemovals: () => Promise<void> = async () => undefined,
): Promise<RemovalRecord> {
  const { machine } = stage;
  const keeper = new Keeper(machine, nodeSha256);
  const boot = described(await keeper.audit());
  const first = await stage.plug(2, "movable");
  const second = await stage.plug(1, "in use");
  const third = await stage.plug(1, "movable");
  const all = RangeSet.of([first.range, second.range, third.range]);
  expect((await keeper.reconcile()).after.verdict).toBe("accurate");
  await beforeRemovals();

  // Memory that is backed stays described, online or not: it may come back at any moment.
  await stage.offlineLastBlock(first);
  const partly = await keeper.reconcile();
  expect(partly.after.verdict).toBe("accurate");
  expect(described(partly.after).subtract(boot)).toEqual(all);

  await stage.removeByOthers(first);
  const uncorrected = await keeper.audit();
  const corrected = await keeper.reconcile();
  expect(corrected.after.verdict).toBe("accurate");
  expect(described(corrected.after).subtract(boot)).toEqual(all.subtract(RangeSet.of([first.range])));

  const [inUse, free] = await dimmsNamed(machine, [second.name, third.name]);
  const refused = await unplugMemory(machine, keeper, inUse!, LIMIT_MS);
  expect(refused.answer).toMatchObject({ answer: "refused" });
  expect(refused.after.verdict).toBe("accurate");
  expect(described(refused.after).subtract(boot)).toEqual(RangeSet.of([second.range, third.range]));

  const removed = await unplugMemory(machine, keeper, free!, LIMIT_MS);
  expect(removed.answer).toEqual({ answer: "removed" });
  expect(removed.after.verdict).toBe("accurate");
  expect(described(removed.after).subtract(boot)).toEqual(RangeSet.of([second.range]));
  return {
    uncorrected,
    refused,
    removed,
    gone: RangeSet.of([first.range, third.range]),
    kept: second.range,
  };
}
