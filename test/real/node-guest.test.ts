/**
 * A guest with Node inside runs our own built program: what the target `local` is tested in. In every other way it is a
 * guest like the others. (Our program takes some seconds to its first line under TCG: it is run once for each kernel.)
 */
import { afterAll, describe, expect, test } from "vitest";
import { Keeper } from "../../src/keeper/keeper.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import { KERNEL_SERIES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import {
  fillMemory,
  type LoadCall,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "../../src/lab/guest-actions.ts";
import { GuestProcess, runProgram, text } from "../../src/lab/guest-process.ts";
import { GUEST_KDUMP_HOTPLUG, GUEST_NODE } from "../../src/lab/node.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Lab, openLab } from "./lab.ts";

const LIMIT_MS = 120_000;
const DIMM_MIB = 256;
const LOADS: Readonly<Record<KernelSeries, LoadCall>> = {
  "5.10": "kexec_load",
  "6.1": "kexec_file_load",
  "6.12": "kexec_file_load",
};

const labs = new Map<KernelSeries, Lab>();
for (const series of KERNEL_SERIES) {
  const lab = await openLab(`Node on Linux ${series}`, series, { node: true });
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

/** Reads what the target `local` reads; an argument of Node has no newlines. */
const SCRIPT = [
  'const fs = require("node:fs"), read = (path) => fs.readFileSync(path, "utf8").trim()',
  'console.log(process.version, read("/sys/kernel/kexec_crash_loaded"), read("/sys/kernel/security/lockdown"))',
  'console.log(/[1-9a-f].* : System RAM$/m.test(read("/proc/iomem")))',
  'const head = Buffer.alloc(4); fs.readSync(fs.openSync("/proc/kcore"), head); console.error(head.toString("latin1"))',
].join("; ");

describe.each(KERNEL_SERIES)("a guest with Node on Linux %s", (series) => {
  test.skipIf(!labs.has(series))("runs the Node that runs here, and our program", async () => {
    await using guest = await labs.get(series)!.bootLoaded({ load: LOADS[series] });
    const { agent } = guest;
    const node = await runProgram(agent, [GUEST_NODE, "-e", SCRIPT], LIMIT_MS);
    expect.soft(text(node.stderr)).toBe("\x7fELF\n");
    expect.soft(text(node.stdout)).toBe(`${process.version} 1 [none] integrity confidentiality\ntrue\n`);
    expect(node.status).toBe(0);

    const wrong = await runProgram(agent, [GUEST_KDUMP_HOTPLUG, "audit", "no-such:target"], LIMIT_MS);
    expect.soft(text(wrong.stdout)).toBe("");
    expect.soft(text(wrong.stderr)).toMatch(/^Cannot use "no-such:target" as a target: .*\n$/);
    expect(wrong.status).toBe(2);
    await agent.finish("guest");
  });
});

describe.skipIf(!labs.has("6.1"))("a guest with Node", () => {
  test("signals a program in the background, and dumps like any other guest while one runs", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded({ load: "kexec_load" });
    await using machine = await QemuMachine.open(guest.qmpPath);
    const { agent } = guest;
    const waits = 'process.on("SIGTERM", () => process.exit(7)); setInterval(() => undefined, 1000)';
    const start = async (): Promise<GuestProcess> => {
      const program = await GuestProcess.start(agent, [GUEST_NODE, "-e", `${waits}; console.log("ready")`]);
      await program.printed(/ready/, LIMIT_MS);
      return program;
    };
    const asked = await start();
    expect(await asked.signal("TERM")).toBe(true);
    expect((await asked.end(LIMIT_MS)).status).toBe(7);
    const killed = await start();
    expect(await killed.signal("KILL")).toBe(true);
    expect((await killed.end(LIMIT_MS)).status).toBe(128 + 9);
    expect(await agent.output("ls /tmp")).toBe("reply\n");

    await start();
    const { address, size } = await machine.guest.plugDimm({ size: BigInt(DIMM_MIB) << 20n });
    const dimm = { start: address, end: address + size };
    await waitUntilOnline(agent, [dimm]);
    await fillMemory(agent, DIMM_MIB);
    expect((await new Keeper(machine, nodeSha256).reconcile()).after.verdict).toBe("accurate");
    const online = await onlineMemory(agent);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(agent);
    expect(online.subtract(vmcore!.described).ranges).toEqual([]);
    const pages = await comparePages(agent, machine.memory, vmcore!, dimm, seededRandom(5));
    await agent.finish("capture");
    expect(pages).toMatchObject({ sampled: PAGES_PER_DIMM, equal: PAGES_PER_DIMM, unreadable: 0 });
    expect(pages.nonZero).toBeGreaterThan(PAGES_PER_DIMM / 2);
  });
});
