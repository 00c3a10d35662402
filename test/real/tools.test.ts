/**
 * Outside tools judge dumps with hot-added memory, one that nobody's keeper was there for and one that was kept.
 *
 * makedumpfile runs in the capture kernel, as in a distribution; the others run on what it wrote. None of them complains
 * about the dump that lacks memory until somebody asks for what is in it: that is what makes a stale header dangerous.
 */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pageOffsetOf } from "../../src/elfcore/kinds.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { DumpTool } from "../../src/lab/fetch/tools.ts";
import { type GuestDump, makeDump, outputOf, runTool, type ToolRun } from "./dumps.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("outside tools as judges of dumps", "6.1", { tools: true });
afterAll(() => lab?.close());

const DIMM_MIB = 256;
const PAGES = (2 * DIMM_MIB * 1024) / 4;

/** vmlinux of the lab's kernel with debug symbols. Debian's package of it is 280 MB, so the lab does not fetch it. */
const symbols = process.env["KDUMP_HOTPLUG_VMLINUX"];
if (lab && symbols === undefined) {
  console.error(
    "Outside tools are run without debug symbols; KDUMP_HOTPLUG_VMLINUX=FILE (of linux-image-RELEASE-dbg) has crash judge with them",
  );
}

/** Every page of the DIMMs through drgn, against the guest's own memory. */
const READ_PAGES = `
import drgn, json, sys
program = drgn.Program()
program.set_core_dump(sys.argv[1])
found = {"release": program["UTS_RELEASE"].string_().decode(), "equal": 0, "filtered": 0, "different": 0, "unreadable": 0, "first": None}
for argument in sys.argv[2:]:
    start, path = argument.split("=", 1)
    with open(path, "rb") as memory:
        address = int(start, 0)
        while page := memory.read(4096):
            try:
                read = program.read(address, 4096, True)
            except drgn.FaultError:
                found["unreadable"] += 1
            else:
                if not any(read):
                    found["filtered"] += 1
                elif read == page:
                    found["equal"] += 1
                    if found["first"] is None and any(page[:32]):
                        found["first"] = address
                else:
                    found["different"] += 1
            address += 4096
print(json.dumps(found))
`;

interface PagesFound {
  readonly release: string;
  /** Byte for byte the guest's, and not zeros. */
  readonly equal: number;
  /** Read as zeros: because they are, or because makedumpfile left them out (cache, free pages). */
  readonly filtered: number;
  readonly different: number;
  readonly unreadable: number;
  /** The first page that holds data at its start and is equal. */
  readonly first: number | null;
}

async function tool(name: DumpTool, args: readonly string[]): Promise<ToolRun> {
  return runTool(lab!.supplies.tools!, name, args);
}

function show(what: string, way: string, text: string): void {
  console.log(`${way === "kept" ? "with us" : "without"}  ${what}: ${text}`);
}

/** Where a physical `address` lies in the kernel's linear mapping. */
function linear({ vmcore }: GuestDump, address: bigint): bigint {
  return BigInt.asUintN(64, pageOffsetOf(vmcore.header)! + address);
}

describe.skipIf(!lab)("a dump with hot-added memory", () => {
  const dumps: Partial<Record<"left" | "kept", GuestDump>> = {};
  const found: Partial<Record<"left" | "kept", PagesFound>> = {};
  const WAYS = ["left", "kept"] as const;

  beforeAll(async () => {
    for (const way of WAYS) dumps[way] = await makeDump(lab!, { dimmMiB: DIMM_MIB, kept: way === "kept" });
  });
  afterAll(async () => {
    for (const dump of Object.values(dumps)) await dump[Symbol.asyncDispose]();
  });

  describe.each(WAYS)("%s", (way) => {
    const kept = way === "kept";

    test("gives makedumpfile the kernel's log, in the capture kernel", () => {
      expect(outputOf(dumps[way]!.dmesg)).toMatch(
        /sysrq: Trigger a crash|Kernel panic - not syncing: sysrq triggered crash/,
      );
      show("makedumpfile --dump-dmesg", way, "the log up to the panic");
    });

    test("is filtered by makedumpfile -d 31 in the capture kernel without a complaint", async () => {
      const { filter, file } = dumps[way]!;
      expect(outputOf(filter)).not.toMatch(/fail|can't|non-existent/i);
      const { size } = await stat(file);
      expect(size).toBeGreaterThan(8 * 1024 ** 2);
      show("makedumpfile -E -d 31", way, `exit status 0, ${size} bytes`);
    });

    test.each(["/proc/vmcore", "the filtered dump"])("is a core file to readelf: %s", async (which) => {
      const { headFile, file, dimms } = dumps[way]!;
      const whole = which === "/proc/vmcore";
      const ran = await tool("readelf", ["-hlnW", whole ? headFile : file]);
      const stdout = outputOf(ran);
      expect(ran.stderr).toBe("");
      expect(stdout).toMatch(/Type: +CORE \(Core file\)/);
      expect(stdout).toMatch(/Machine: +Advanced Micro Devices X86-64/);
      expect(stdout.match(/NT_PRSTATUS/g)).toHaveLength(2);
      expect(stdout).toMatch(/^ +VMCOREINFO /m);
      const loads = [...stdout.matchAll(/^ +LOAD +\S+ 0x\w+ 0x(\w+) 0x\w+ 0x(\w+) /gm)].map(
        ([, start, size]) => ({
          start: BigInt(`0x${start}`),
          end: BigInt(`0x${start}`) + BigInt(`0x${size}`),
        }),
      );
      const missing = RangeSet.of(dimms).subtract(RangeSet.of(loads));
      expect(missing.bytes).toBe(kept ? 0n : BigInt(2 * DIMM_MIB) << 20n);
      show(
        `readelf -hlnW, ${which}`,
        way,
        `${loads.length} LOADs, ${Number(missing.bytes >> 20n)} MiB of the DIMMs are in none`,
      );
    });

    test("has every hot-added page for drgn, and none without us", async () => {
      const { dimms, file, memoryFiles, release } = dumps[way]!;
      const memory = dimms.map(({ start }, i) => `0x${start.toString(16)}=${memoryFiles[i]}`);
      const stdout = outputOf(await tool("python", ["-c", READ_PAGES, file, ...memory]));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- our own script's words
      const pages = JSON.parse(stdout) as PagesFound;
      found[way] = pages;
      show("drgn", way, stdout.trim());
      expect(pages.release).toBe(release);
      expect(pages.different).toBe(0);
      expect(pages.unreadable).toBe(kept ? 0 : PAGES);
      // Kernel data that lay in hot-added memory: page tables, slabs, struct pages. The rest is cache, which -d 31 leaves out.
      expect(pages.equal > 100).toBe(kept);
      expect(pages.equal + pages.filtered).toBe(kept ? PAGES : 0);
    });

    test("shows gdb the kernel's data in hot-added memory, and none without us", async () => {
      const dump = dumps[way]!;
      const { dimms, memoryFiles, file } = dump;
      const [range] = dimms;
      const page = kept ? BigInt(found.kept!.first!) : range!.start;
      const at = `0x${linear(dump, page).toString(16)}`;
      const { stdout, stderr } = await tool("gdb", ["-nx", "-batch", "-ex", `x/4gx ${at}`, "-c", file]);
      const words = [...stdout.matchAll(/\t0x([0-9a-f]{16})/g)].map(([, word]) => BigInt(`0x${word}`));
      show(
        "gdb x/4gx",
        way,
        kept ? words.map((word) => word.toString(16)).join(" ") : stderr.trim().split("\n").at(-1)!,
      );
      const dimm = dimms.findIndex(({ start, end }) => start <= page && page < end);
      const memory = await readFile(memoryFiles[dimm]!);
      const offset = Number(page - dimms[dimm]!.start);
      const there = [0, 8, 16, 24].map((step) => memory.readBigUInt64LE(offset + step));
      expect(words).toEqual(kept ? there : []);
      expect(/Cannot access memory at address/.test(stderr)).toBe(!kept);
    });

    // `crash --log` needs symbols since 5.10 ("no log buffer data"), so the release is all that it says without.
    test("is a dump of that kernel to crash", async () => {
      const { file, release } = dumps[way]!;
      const stdout = outputOf(await tool("crash", ["--osrelease", file]));
      expect(stdout.trim()).toBe(release);
      show("crash --osrelease", way, stdout.trim());
    });

    test.each(symbols === undefined ? [] : [symbols])(
      "is whole to crash with %s, and cannot be read without us",
      async (vmlinux) => {
        const { dimms, file, directory, release } = dumps[way]!;
        const page = kept ? BigInt(found.kept!.first!) : dimms[0]!.start;
        const script = join(directory, "commands");
        await writeFile(script, `sys\nkmem -i\nrd -p ${page.toString(16)} 2\nquit\n`);
        const { stdout, stderr } = await tool("crash", ["-s", "-i", script, vmlinux, file]);
        const said = `${stdout}${stderr}`;
        // Without us it depends on what lay there: crash does not open the dump at all (the pids' tree), or kmem -i fails.
        expect(/read error: (?:kernel virtual|physical) address/.test(said)).toBe(!kept);
        expect(/TOTAL MEM +\d+/.test(said)).toBe(kept);
        expect(said.includes(`RELEASE: ${release}`) && said.includes("sysrq triggered crash")).toBe(
          kept || said.includes("RELEASE"),
        );
        show(
          "crash with symbols: sys, kmem -i",
          way,
          /.*(?:TOTAL MEM|read error).*/.exec(said)?.[0].trim() ?? "",
        );
      },
    );
  });
});
