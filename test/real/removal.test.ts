/** Memory that goes, on real kernels: given up, refused, taken by somebody else; and the dump of a panic afterwards. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { isRam } from "../../src/elfcore/kinds.ts";
import { parseMemoryDevices } from "../../src/layout/qmp.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import type { KernelSeries } from "../../src/lab/fetch/kernel.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import {
  fillMemory,
  type LoadCall,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "../../src/lab/guest-actions.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { playRemoval, type RemovalStage, type StageDimm } from "../keeper/removal-scenario.ts";
import { cliJson, startCli } from "./cli.ts";
import { type Lab, openLab } from "./lab.ts";

const BLOCK = 128n << 20n;
const AUTO_ONLINE = "/sys/devices/system/memory/auto_online_blocks";

const labs = new Map<KernelSeries, Lab>();
for (const series of ["5.10", "6.1", "6.12"] as const) {
  const lab = await openLab(`removal on Linux ${series}`, series);
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

/** The stage of a real guest: the lab is "somebody else", with a QMP connection of its own. */
function stageOf(guest: LabGuest, machine: QemuMachine, others: QemuGuest): RemovalStage {
  const { agent } = guest;
  let plugged = 0;
  return {
    machine,
    plug: async (blocks, kind) => {
      // Memory for the kernel's own use cannot be moved. All of boot RAM lies below 4 GiB (ZONE_DMA32), so this is the
      // only memory of ZONE_NORMAL, which the kernel takes first: inodes are enough to have it in use.
      await agent.output(`echo online_${kind === "movable" ? "movable" : "kernel"} > ${AUTO_ONLINE}`);
      const size = BigInt(blocks) * BLOCK;
      const dimm = await others.plugDimm({ size, id: `other${plugged++}` });
      const range = { start: dimm.address, end: dimm.address + size };
      await waitUntilOnline(agent, [range]);
      if (kind === "in use")
        await agent.output(
          "mkdir /tmp/in-use && cd /tmp/in-use && i=0; while [ $i -lt 3000 ]; do : > $i; i=$((i+1)); done",
        );
      return { name: dimm.id, range };
    },
    offlineLastBlock: async ({ range }) => {
      const block = range.end / BLOCK - 1n;
      await agent.output(`echo offline > /sys/devices/system/memory/memory${block}/state`);
    },
    removeByOthers: async ({ name }) => await removeByOthers(others, name),
  };
}

async function removeByOthers(others: QemuGuest, name: string): Promise<void> {
  const gone = others.qmp.waitForEvent("DEVICE_DELETED", { timeoutMs: 60_000 });
  gone.catch(() => undefined);
  await others.qmp.execute("device_del", { id: name });
  await gone;
}

const CASES: readonly (readonly [KernelSeries, LoadCall])[] = [
  ["5.10", "kexec_file_load"],
  ["6.1", "kexec_file_load"],
  ["6.1", "kexec_load"],
  ["6.12", "kexec_file_load"],
];

describe.each(CASES)("Linux %s, loaded by %s", (series, load) => {
  test.skipIf(!labs.has(series))("dumps what is left, and claims nothing that is gone", async () => {
    await using guest = await labs.get(series)!.bootLoaded({ load, addedMemory: "online_movable" });
    await using machine = await QemuMachine.open(guest.qmpPath);
    await using others = await QemuGuest.open(guest.labQmpPath);
    const { agent } = guest;
    const stage = stageOf(guest, machine, others);
    const { uncorrected, refused, removed, gone, kept } = await playRemoval(stage, async () => {
      await fillMemory(agent, 480);
    });

    // The kernel's own handler ran (6.12) or there is none: either way the header still has the DIMM.
    expect(uncorrected).toMatchObject({ verdict: "inaccurate", stale: RangeSet.of([gone.ranges[0]!]) });
    expect(uncorrected.image!.digest.state).toBe(series === "6.12" ? "excludes-header" : "covers-header");
    const ramLoads = uncorrected.image!.header.programHeaders.filter(isRam).length;
    const stale = ((removed.staleMicroseconds ?? Number.NaN) / 1000).toFixed(1);
    const pause = ((removed.pauseMicroseconds ?? Number.NaN) / 1000).toFixed(2);
    console.log(
      `${guest.release}, ${load}: before our correction the header has ${ramLoads} RAM PT_LOADs and still describes ${uncorrected.stale.toString()}; ` +
        `refused: ${refused.answer.answer === "refused" ? refused.answer.reason : ""}; ` +
        `ours: described for ${stale} ms after it was gone, pause ${pause} ms`,
    );
    expect(removed.backend).toMatchObject({ fate: "left" });
    expect(removed.staleMicroseconds).toBeGreaterThan(0);
    expect(removed.staleMicroseconds).toBeLessThan(2_000_000);

    const online = await onlineMemory(agent);
    expect(online.intersect(gone)).toEqual(RangeSet.empty);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(agent);
    expect(vmcore!.described.intersect(gone)).toEqual(RangeSet.empty);
    expect(online.subtract(vmcore!.described)).toEqual(RangeSet.empty);
    const pages = await comparePages(agent, others.memory, vmcore!, kept, seededRandom(20201214));
    expect(pages).toMatchObject({ sampled: PAGES_PER_DIMM, equal: PAGES_PER_DIMM });
    expect(pages.nonZero).toBeGreaterThan(PAGES_PER_DIMM / 2);
    await agent.finish("capture");
  });
});

describe.skipIf(!labs.has("6.1"))("kdump-hotplug unplug", () => {
  test("says what was removed, what was not yet, and what Ctrl-C left", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded({ addedMemory: "online_movable" });
    await using outside = await QemuGuest.open(guest.labQmpPath);
    const target = `qmp:${guest.qmpPath}`;
    const plug = await cliJson("plug", target, "--memory", "128M", "--count", "3");
    expect.soft(plug.stderr).toBe("");
    expect(plug.code).toBe(0);
    await waitUntilOnline(guest.agent, await rangesOf(outside));

    const removed = await cliJson("unplug", target, "/machine/peripheral/kdh-mem1");
    expect(removed.json).toMatchObject({
      devices: [{ name: "kdh-mem1", bytes: 128 << 20, outcome: "removed", backend: "deleted" }],
      after: { verdict: "accurate", memory: { devices: [{ name: "kdh-mem0" }, { name: "kdh-mem2" }] } },
    });
    expect(removed.code).toBe(0);
    // Boot RAM's backend, and one for each DIMM that is left.
    expect(await outside.qmp.execute<unknown[]>("query-memdev")).toHaveLength(3);

    const unknown = await startCli(["unplug", target, "kdh-mem0", "kdh-mem1"]).result;
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toMatch(/no DIMM "kdh-mem1"; these can be removed: kdh-mem0 at .*, kdh-mem2 at /);
    expect(await rangesOf(outside)).toHaveLength(2);

    // With data to be moved elsewhere no guest is that quick: it goes after we have stopped listening.
    await fillMemory(guest.agent, 256);
    const impatient = await cliJson("unplug", target, "kdh-mem0", "--wait", "0.001");
    expect(impatient).toMatchObject({ code: 3, json: { devices: [{ outcome: "pending" }] } });
    await untilCount(outside, 1);
    expect((await cliJson("audit", target)).json).toMatchObject({
      verdict: "inaccurate",
      memory: { missing: [], stale: [{ bytes: 128 << 20 }] },
    });
    const kept = await cliJson("keep", "--once", target);
    expect(kept.json).toMatchObject({ verdict: "accurate", memory: { stale: [] } });

    const begun = outside.qmp.waitForEvent("ACPI_DEVICE_OST", { timeoutMs: 30_000 });
    begun.catch(() => undefined);
    const run = startCli(["unplug", target, "kdh-mem2"]);
    await Promise.race([begun, run.result]);
    run.child.kill("SIGINT");
    const interrupted = await run.result;
    // It may have been done by then; else both streams say how far it came.
    const { code, stderr, stdout } = interrupted;
    const told =
      /^kdh-mem2 was .*(may give it up at any time|may still describe it)/.test(stderr) &&
      /^kdh-mem2: 128 MiB (not removed yet: it was asked for|removed); /.test(stdout);
    expect({ code, told }, `${stdout}${stderr}`).toEqual(
      code === 0 ? { code: 0, told } : { code: 130, told: true },
    );
    console.log(`interrupted: ${code}, ${stdout}${stderr}`);
    expect(await outside.status()).toBe("running");
    await untilCount(outside, 0);
    expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});

async function rangesOf(outside: QemuGuest): Promise<readonly StageDimm["range"][]> {
  return parseMemoryDevices(await outside.memoryDevices()).flatMap(({ range }) => (range ? [range] : []));
}

/** Waits until the guest has so many DIMMs. */
async function untilCount(outside: QemuGuest, count: number): Promise<void> {
  for (let waited = 0; (await rangesOf(outside)).length !== count; waited += 100) {
    if (waited > 60_000) throw new Error(`The guest still has other than ${count} DIMMs after 60 s`);
    await delay(100);
  }
}
