/**
 * The kernel as the judge: after each change, the header that it has written itself against the one that we compute.
 *
 * Two differences are meant, and named here so that nothing else can hide behind them:
 * - `merged`: DIMMs that touch are one PT_LOAD with us; the kernel has one for each resource, which is one per DIMM
 *   (`walk_system_ram_res`, kernel/resource.c, and ACPI's DIMMs are not merged).
 * - `removed`: the kernel still describes a removed DIMM until the next memory event, because its notifier runs
 *   before the resource goes (facts of 6.12; `try_remove_memory`, mm/memory_hotplug.c); we do not.
 */
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader, ProgramHeader } from "../../src/elfcore/header.ts";
import { isRam } from "../../src/elfcore/kinds.ts";
import { ramLoad } from "../../src/elfcore/build.ts";
import { equalBytes } from "../../src/image/bytes.ts";
import { compareWithLayout, loadRange } from "../../src/layout/described.ts";
import type { MachineLayout } from "../../src/layout/machine.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import type { LayoutStep } from "./layouts.ts";

/** A machine whose kernel keeps its header itself, and that nobody else writes to. */
export interface JudgedMachine {
  /** Adds a DIMM of `mib` MiB, `atMiB` above where hot-added memory begins, and waits until the kernel has it online. */
  add(
    mib: number,
    atMiB: number | undefined,
  ): Promise<{ readonly id: string; readonly range: PhysicalRange }>;
  /** Removes a DIMM and waits until the machine has given it up. */
  remove(id: string): Promise<void>;
  layout(): Promise<MachineLayout>;
  /** The bytes of the loaded image's header segment, as they are. */
  headerSegment(): Promise<Uint8Array>;
}

/** What one change showed. */
export interface Judgement {
  readonly step: LayoutStep;
  readonly dimms: number;
  /** Program headers of the kernel's header. */
  readonly kernelHeaders: number;
  /** DIMMs touch, so that ours may have fewer. */
  readonly touching: boolean;
  /** Ours from the header before this change, and ours from the one at load, equal the kernel's as they are. */
  readonly equal: { readonly fromBefore: boolean; readonly fromLoad: boolean };
  /** The same, once ours has one PT_LOAD per DIMM (`merged`) and what was removed is taken out of the kernel's (`removed`). */
  readonly equalButForTheNamed: { readonly fromBefore: boolean; readonly fromLoad: boolean };
  /** What the kernel describes and the machine no longer has. */
  readonly stale: RangeSet;
  /** What the machine has and the kernel does not describe. */
  readonly missing: RangeSet;
}

/** Takes `machine` through `steps`. Nothing is ever written to it. */
export async function judge(
  machine: JudgedMachine,
  steps: readonly LayoutStep[],
): Promise<readonly Judgement[]> {
  const atLoad = decodeCoreHeader(await machine.headerSegment());
  const added: { readonly id: string; readonly range: PhysicalRange }[] = [];
  const gone = new Set<string>();
  const judgements: Judgement[] = [];
  let before = atLoad;
  for (const step of steps) {
    if ("add" in step) {
      added.push(await machine.add(step.add, step.at));
    } else {
      const { id } = added[step.remove]!;
      await machine.remove(id);
      gone.add(id);
    }
    const layout = await machine.layout();
    const segment = await machine.headerSegment();
    const kernels = decodeCoreHeader(segment);
    const { stale, missing } = compareWithLayout(kernels, layout);
    const dimms = added.filter(({ id }) => !gone.has(id)).map(({ range }) => range);
    const ours = { fromBefore: wantedHeader(before, layout), fromLoad: wantedHeader(atLoad, layout) };
    const there = without(kernels, stale);
    judgements.push({
      step,
      dimms: dimms.length,
      kernelHeaders: kernels.programHeaders.length,
      touching: RangeSet.of(dimms).ranges.length < dimms.length,
      equal: both(ours, (header) => sameBytes(header, segment)),
      equalButForTheNamed: both(ours, (header) =>
        sameBytes(onePerDimm(header, dimms), encodeCoreHeader(there)),
      ),
      stale,
      missing,
    });
    before = kernels;
  }
  return judgements;
}

function both(
  headers: { readonly fromBefore: CoreHeader; readonly fromLoad: CoreHeader },
  test: (header: CoreHeader) => boolean,
): { readonly fromBefore: boolean; readonly fromLoad: boolean } {
  return { fromBefore: test(headers.fromBefore), fromLoad: test(headers.fromLoad) };
}

/** Whether `bytes` begin with `header` to the byte, `e_phnum` included: then they hold that header and no other. */
function sameBytes(header: CoreHeader, bytes: Uint8Array): boolean {
  const encoded = encodeCoreHeader(header);
  return equalBytes(encoded, bytes.subarray(0, encoded.length));
}

/** Named difference `merged`, undone: each RAM load is cut where one of `dimms` ends and the next begins. */
export function onePerDimm(header: CoreHeader, dimms: readonly PhysicalRange[]): CoreHeader {
  const programHeaders = header.programHeaders.flatMap((load): readonly ProgramHeader[] => {
    const range = isRam(load) ? loadRange(load) : undefined;
    if (range === undefined) return [load];
    const cuts = dimms.map(({ start }) => start).filter((at) => range.start < at && at < range.end);
    const bounds = [range.start, ...cuts.sort((a, b) => (a < b ? -1 : 1)), range.end];
    return bounds
      .slice(0, -1)
      .map((start, i) => ramLoad({ start, end: bounds[i + 1]! }, load.p_vaddr - load.p_paddr));
  });
  return { ...header, programHeaders };
}

/** Named difference `removed`, undone: loads that lie in `stale` wholly are left out; nothing else is touched. */
function without(header: CoreHeader, stale: RangeSet): CoreHeader {
  const programHeaders = header.programHeaders.filter((load) => {
    const range = isRam(load) ? loadRange(load) : undefined;
    return range === undefined || !stale.covers(range);
  });
  return { ...header, programHeaders };
}
