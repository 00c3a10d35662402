/** The pure rooms: headers of 8192 ranges, and the range set. */
import { buildCoreHeader } from "../src/elfcore/build.ts";
import { decodeCoreHeader } from "../src/elfcore/decode.ts";
import { encodeCoreHeader } from "../src/elfcore/encode.ts";
import type { PhysicalRange } from "../src/layout/range.ts";
import { RangeSet } from "../src/layout/range-set.ts";
import { type Measurement, measured, time } from "./stats.ts";

const MIB = 1n << 20n;

/** `count` ranges of 1 MiB that do not touch. */
function scattered(count: number, offset = 0n): readonly PhysicalRange[] {
  return Array.from({ length: count }, (_, i) => {
    const start = BigInt(i) * 2n * MIB + offset;
    return { start, end: start + MIB };
  });
}

export async function benchHeaders(): Promise<readonly Measurement[]> {
  const header = buildCoreHeader({
    cpuNotes: Array.from({ length: 64 }, (_, i) => ({
      paddr: 0x3de39400n + BigInt(i) * 0x40000n,
      size: 368n,
    })),
    vmcoreinfo: { paddr: 0x1842000n, size: 4132n },
    kernelText: { paddr: 0x28600000n, vaddr: 0xffffffffa8c00000n, size: 0x2c30000n },
    ram: scattered(8192),
    pageOffset: 0xff49769500000000n,
  });
  const bytes = encodeCoreHeader(header);
  const limit = { of: "median", ms: 5 } as const;
  return [
    measured("encode a header of 8192 ranges", await time(100, () => encodeCoreHeader(header)), limit),
    measured("decode a header of 8192 ranges", await time(100, () => decodeCoreHeader(bytes)), limit),
  ];
}

export async function benchRangeSets(): Promise<readonly Measurement[]> {
  const rows: Measurement[] = [];
  for (const count of [10, 1_000, 100_000]) {
    const ranges = scattered(count);
    const a = RangeSet.of(ranges);
    const b = RangeSet.of(scattered(count, MIB / 2n));
    const runs = count > 10_000 ? 15 : 100;
    const name = (what: string): string => `${what}, ${count} ranges`;
    rows.push(
      measured(name("range set from a list"), await time(runs, () => RangeSet.of(ranges))),
      measured(name("union"), await time(runs, () => a.union(b))),
      measured(name("subtract"), await time(runs, () => a.subtract(b))),
      measured(name("contains, 1000 times"), await time(runs, () => lookUp(a, count))),
    );
  }
  return rows;
}

function lookUp(set: RangeSet, count: number): number {
  let hits = 0;
  const step = BigInt(count) * 2n * MIB;
  for (let i = 0n; i < 1000n; i++) if (set.contains((i * step) / 1000n)) hits++;
  return hits;
}
