/** What a re-arm has to know of the running kernel, from /proc and the kernel's own list of what it has mapped. */
import { hasParameter } from "../../image/command-line.ts";
import { identityMapped } from "../../image/identity-map.ts";
import { type RearmFacts, unsafe } from "../../image/rearm-image.ts";
import type { IomemEntry } from "../../layout/iomem.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { runningCommandLine } from "./capture-facts.ts";
import { LocalError } from "./error.ts";
import type { RootTree } from "./tree.ts";

const CPUINFO = "/proc/cpuinfo";
const MEMINFO = "/proc/meminfo";

/**
 * Reads them.
 *
 * @param mapped `pfn_mapped`; undefined where it is hidden. /proc/iomem cannot stand in for it: it has lost what was
 * removed since boot, and the kernel still makes page tables for that.
 * @throws {ImageError} `unsafe-rearm` where it is undefined.
 * @throws {LocalError} where a file does not say what it should.
 */
export async function readRearmFacts(
  tree: RootTree,
  iomem: readonly IomemEntry[],
  mapped: readonly PhysicalRange[] | undefined,
): Promise<RearmFacts> {
  if (!mapped)
    throw unsafe(
      `the kernel hides what it has mapped (pfn_mapped is not in ${tree.shown("/proc/kallsyms")}: kernel.kptr_restrict is 2, or it was built without CONFIG_KALLSYMS_ALL), so where it would put its page tables is not known`,
    );
  const flags = /^flags\s*:(.*)$/m.exec(await text(tree, CPUINFO))?.[1]?.split(" ");
  if (!flags) throw malformed(tree, CPUINFO, "has no line of flags");
  const total = /^MemTotal:\s*(\d{1,15}) kB$/m.exec(await text(tree, MEMINFO))?.[1];
  if (total === undefined) throw malformed(tree, MEMINFO, "has no MemTotal");
  return {
    // The ACPI tables are mapped besides (map_acpi_tables).
    mapped: [...mapped, ...identityMapped(iomem)],
    // The kernel takes a flag away where it does not use what the processor has (no5lvl, nogbpages leaves it).
    levels: flags.includes("la57") ? 5 : 4,
    gibPages: flags.includes("pdpe1gb") && !hasParameter(await runningCommandLine(tree), "nogbpages"),
    totalRam: BigInt(total) * 1024n,
    updatesElfcorehdr: (await tree.readText("/sys/devices/system/memory/crash_hotplug")) !== undefined,
  };
}

async function text(tree: RootTree, path: string): Promise<string> {
  const found = await tree.readText(path);
  if (found === undefined) throw malformed(tree, path, "cannot be read");
  return found;
}

function malformed(tree: RootTree, path: string, what: string): LocalError {
  return new LocalError("malformed", `${tree.shown(path)} ${what}`);
}
