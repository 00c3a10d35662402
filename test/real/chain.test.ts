/** The main job on real kernels: memory added after the capture kernel was loaded, without us and with us. */
import { afterAll, describe, expect, test } from "vitest";
import { isRam } from "../../src/elfcore/kinds.ts";
import type { Audit } from "../../src/keeper/audit.ts";
import { KERNEL_SERIES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import { PAGES_PER_DIMM } from "../../src/lab/evidence.ts";
import type { LoadCall } from "../../src/lab/guest-actions.ts";
import { runScenario, type Scenario, type ScenarioResult } from "../../src/lab/scenario.ts";
import { type Lab, openLab } from "./lab.ts";

const DIMMS_MIB = [256, 256];
const LOADS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
const BASE: Omit<Scenario, "load" | "way"> = {
  ramMiB: 1024,
  crashkernelMiB: 256,
  ram: "shared",
  dimmsMiB: DIMMS_MIB,
  acpiNoMemhotplug: true,
  seed: 20201214,
};

const labs = new Map<KernelSeries, Lab>();
for (const series of KERNEL_SERIES) {
  const lab = await openLab(`the chain on Linux ${series}`, series);
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

async function run(series: KernelSeries, scenario: Scenario): Promise<ScenarioResult> {
  return runScenario(labs.get(series)!.parts, scenario, { log: (line) => console.log(line) });
}

function ramLoads({ image }: Audit): number {
  return image!.header.programHeaders.filter(isRam).length;
}

function expectComplete(result: ScenarioResult): void {
  expect(result.reasons).toEqual([]);
  expect(result.outcome).toBe("complete");
  expect(result.missing.isEmpty).toBe(true);
  expect(result.pages).toHaveLength(DIMMS_MIB.length);
  for (const { sampled, equal, nonZero } of result.pages) {
    expect(sampled).toBe(PAGES_PER_DIMM);
    expect(equal).toBe(sampled);
    expect(nonZero).toBeGreaterThan(sampled / 2);
  }
}

/** Linux >= 6.6 rewrites the header of a kexec_file_load image itself. */
function kernelUpdatesItself(series: KernelSeries, load: LoadCall): boolean {
  return series === "6.12" && load === "kexec_file_load";
}

describe.each(KERNEL_SERIES)("Linux %s", (series) => {
  describe.skipIf(!labs.has(series)).each(LOADS)("loaded by %s", (load) => {
    test("lacks the added memory without us, unless the kernel updates its own header", async () => {
      const result = await run(series, { ...BASE, load, way: "nothing" });
      const lacking = kernelUpdatesItself(series, load) ? 0 : PAGES_PER_DIMM;
      expect(result.outcome).toBe(lacking === 0 ? "complete" : "incomplete");
      expect(result.missing.bytes).toBe(lacking === 0 ? 0n : 512n << 20n);
      expect(result.pages.map(({ unreadable }) => unreadable)).toEqual([lacking, lacking]);
    });

    test("dumps the added memory with us, page for page", async () => {
      const result = await run(series, { ...BASE, load, way: "in-place" });
      expectComplete(result);
      const own = kernelUpdatesItself(series, load);
      const { before, after, bytesWritten } = result.keeper!;
      expect(before.verdict).toBe(own ? "accurate" : "inaccurate");
      expect(before.missing.bytes).toBe(own ? 0n : 512n << 20n);
      expect(after.verdict).toBe("accurate");
      expect(after.image?.loaded).toBe("yes");
      expect(after.image?.digest.state).toBe(own ? "excludes-header" : "covers-header");
      expect(bytesWritten > 0).toBe(!own);
      // Two DIMMs that touch become one PT_LOAD with us; the kernel has one for each.
      const added = ramLoads(after) - ramLoads(before);
      expect(added).toBe(own ? 0 : 1);
    });
  });
});

describe.skipIf(!labs.has("6.12"))("Linux 6.12", () => {
  test("dumps memory that we plug ourselves while its own handler rewrites the same header", async () => {
    const result = await run("6.12", { ...BASE, load: "kexec_file_load", way: "plug" });
    expectComplete(result);
    // Ours went first, without touching the digest: it leaves this header out.
    expect(result.keeper?.before.image?.digest.state).toBe("excludes-header");
    expect(result.keeper?.bytesWritten).toBeGreaterThan(0);
    expect(result.keeper?.after.verdict).toBe("accurate");
  });
});

describe.skipIf(!labs.has("6.1"))("Linux 6.1", () => {
  test("dumps memory that we plug ourselves, header first", async () => {
    const result = await run("6.1", { ...BASE, load: "kexec_file_load", way: "plug" });
    expectComplete(result);
    expect(result.keeper?.after.verdict).toBe("accurate");
  });

  test("is kept true in QEMU's own memory where its RAM is no shared file", async () => {
    const result = await run("6.1", { ...BASE, load: "kexec_file_load", way: "in-place", ram: "private" });
    expectComplete(result);
    expect(result.keeper?.access).toBe("process-memory");
    expect(result.keeper?.bytesWritten).toBeGreaterThan(0);
  });

  test("gives an incomplete dump without acpi_no_memhotplug however true the header is, and audit warns", async () => {
    const result = await run("6.1", {
      ...BASE,
      load: "kexec_file_load",
      way: "in-place",
      acpiNoMemhotplug: false,
    });
    expect(result.keeper?.after.verdict).toBe("accurate");
    expect(result.keeper?.after.warnings.join()).toContain("lacks acpi_no_memhotplug");
    expect(result.missing.isEmpty).toBe(true);
    expect(result.outcome).toBe("incomplete");
    expect(result.pages.every(({ unreadable }) => unreadable > 0)).toBe(true);
  });
});
