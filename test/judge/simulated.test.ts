/** The courses of layouts.ts on the simulated machine, whose handler is written from the kernel's sources. */
import { describe, expect, test } from "vitest";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { buildMachine, parseSpec } from "../../src/simulation/spec.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { expectEqualHeaders } from "./expect.ts";
import { judge, onePerDimm } from "./judge.ts";
import { COURSES, type LayoutCourse } from "./layouts.ts";
import { headerOf } from "../layout/samples.ts";

const MIB = 1n << 20n;

/** A range, MiB. */
function at(start: number, end: number): PhysicalRange {
  return { start: BigInt(start) * MIB, end: BigInt(end) * MIB };
}

async function judgeSimulated({ ramMiB, steps }: LayoutCourse): ReturnType<typeof judge> {
  const machine = buildMachine(parseSpec(`6.12,ram=${ramMiB}M,crash=256M`), nodeSha256);
  const target = new SimulatedTarget("sim:6.12", machine);
  return judge(
    {
      add: async (mib, atMiB) => {
        const place = atMiB === undefined ? undefined : machine.blueprint.hotBase + BigInt(atMiB) * MIB;
        const id = machine.insertDimm(BigInt(mib) * MIB, place);
        machine.addDimm(id);
        machine.online(id);
        return { id, range: machine.dimms.find((dimm) => dimm.id === id)!.range };
      },
      remove: async (id) => machine.unplug(id),
      layout: async () => target.layout(),
      headerSegment: async () => {
        const { start, end } = machine.image!.header;
        return machine.memory.read(start, Number(end - start));
      },
    },
    steps,
  );
}

describe.each(COURSES)("$name", (course) => {
  test("our header is the simulated kernel's to the byte, but for what is named", async () => {
    const judgements = await judgeSimulated(course);
    expect(judgements).toHaveLength(course.steps.length);
    expectEqualHeaders(course, judgements);
  });
});

test("undoing the merge cuts loads at DIMMs' bounds, and nowhere else", () => {
  const merged = headerOf([at(4096, 4480), at(8192, 8320)]);
  const dimms = [at(4224, 4352), at(4096, 4224), at(4352, 4480), at(8192, 8320)];
  expect(onePerDimm(merged, dimms)).toEqual({
    ...headerOf([at(4096, 4224), at(4224, 4352), at(4352, 4480), at(8192, 8320)]),
    fileHeader: merged.fileHeader,
  });
  expect(onePerDimm(merged, [at(4096, 4480)])).toEqual(merged);
  expect(RangeSet.of(dimms).ranges).toHaveLength(2);
});
