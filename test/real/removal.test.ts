/** Memory that goes, on real kernels: given up, refused, taken by somebody else; and the dump of a panic afterwards. */
import { afterAll, describe, expect, test, vi } from "vitest";
import { isRam } from "../../src/elfcore/kinds.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { watch } from "../../src/keeper/watch.ts";
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
import { nodeSha256 } from "../../src/targets/sha256.ts";
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

const CASES: readonly (readonly [KernelSeries, LoadCall, "shared" | "private"])[] = [
  ["5.10", "kexec_file_load", "shared"],
  ["6.1", "kexec_file_load", "shared"],
  ["6.1", "kexec_load", "private"],
  ["6.12", "kexec_file_load", "shared"],
];

describe.each(CASES)("Linux %s, loaded by %s, with %s RAM", (series, load, ram) => {
  test.skipIf(!labs.has(series))("dumps what is left, and claims nothing that is gone", async () => {
    await using guest = await labs.get(series)!.bootLoaded({ load, ram, addedMemory: "online_movable" });
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

describe.skipIf(!labs.has("6.1"))("on Linux 6.1, commands", () => {
  test("say what was removed, what was not yet, and what Ctrl-C left", async () => {
    const options = { addedMemory: "online_movable", coldDimmsMiB: [128] } as const;
    await using guest = await labs.get("6.1")!.bootLoaded(options);
    await using outside = await QemuGuest.open(guest.labQmpPath);
    const target = `qmp:${guest.qmpPath}`;
    const plug = await cliJson("plug", target, "--memory", "128M", "--count", "5");
    expect.soft(plug.stderr).toBe("");
    expect(plug.code).toBe(0);
    await waitUntilOnline(guest.agent, await rangesOf(outside));

    // One that was there from the start, without an id: QEMU's path is its name, and the loader itself described it.
    const unknown = await startCli(["unplug", target, "kdh-mem0", "kdh-mem7"]).result;
    expect(unknown.code).toBe(2);
    const path =
      /no DIMM or CPU "kdh-mem7"; these can be removed: (\/machine\/peripheral-anon\/device\[\d+\]) at .*, kdh-mem4 at /.exec(
        unknown.stderr,
      )?.[1];
    expect(path).toBeDefined();
    expect(await rangesOf(outside)).toHaveLength(6);
    const removed = await cliJson("unplug", target, path!, "/machine/peripheral/kdh-mem1");
    expect(removed.json).toMatchObject({
      devices: [
        { name: path, bytes: 128 << 20, outcome: "removed", backend: "left" },
        { name: "kdh-mem1", bytes: 128 << 20, outcome: "removed", backend: "deleted" },
      ],
      after: { verdict: "accurate", memory: { devices: [{ name: "kdh-mem0" }, {}, {}, {}] } },
    });
    expect(removed.code).toBe(0);
    // Boot RAM's backend, the one that was left, and one for each DIMM.
    expect(await outside.qmp.execute<unknown[]>("query-memdev")).toHaveLength(6);

    // With data to be moved elsewhere no guest is that quick: it goes after we have stopped listening.
    await fillMemory(guest.agent, 400);
    const impatient = await cliJson("unplug", target, "kdh-mem0", "--wait", "0.001");
    expect(impatient).toMatchObject({ code: 3, json: { devices: [{ outcome: "pending" }] } });
    await untilCount(outside, 3);
    expect((await cliJson("audit", target)).json).toMatchObject({
      verdict: "inaccurate",
      memory: { missing: [], stale: [{ bytes: 128 << 20 }] },
    });
    const kept = await cliJson("keep", "--once", target);
    expect(kept.json).toMatchObject({ verdict: "accurate", memory: { stale: [] } });

    for (const [name, moment] of [
      ["kdh-mem2", "ACPI_DEVICE_OST"],
      ["kdh-mem3", "DEVICE_DELETED"],
      ["kdh-mem4", "STOP"],
    ] as const) {
      const { code, told, text } = await interruptedAt(outside, target, name, moment);
      console.log(`interrupted at ${moment}: exit code ${code}\n${text}`);
      // It may have been done by then; else both streams say how far it came.
      expect({ name, code, told }).toEqual({ name, code: code === 0 ? 0 : 130, told: true });
      expect(await outside.status()).toBe("running");
      await untilGone(outside, name);
      expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
    }
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });

  test("that keep the header correct it when somebody else has removed memory", async () => {
    await using guest = await labs.get("6.1")!.bootLoaded({ addedMemory: "online_movable" });
    await using outside = await QemuGuest.open(guest.labQmpPath);
    await using machine = await QemuMachine.open(guest.qmpPath);
    const keeper = new Keeper(machine, nodeSha256);
    const stop = new AbortController();
    const installs: { readonly stale: boolean; readonly reactionMs: number | undefined }[] = [];
    const failures: Error[] = [];
    const watching = watch(machine, keeper, {
      signal: stop.signal,
      onEvent: (event) => {
        if (event.kind === "failed") failures.push(event.error);
        if (event.kind === "installed")
          installs.push({ stale: !event.before.stale.isEmpty, reactionMs: event.reactionMs });
      },
    });
    // What ends it early is told of below.
    watching.catch(() => undefined);
    const untilInstalled = (count: number): Promise<unknown> =>
      vi.waitUntil(() => installs.length >= count, { timeout: 30_000, interval: 10 });
    try {
      for (let round = 0; round < 4; round++) {
        const dimm = await outside.plugDimm({ size: BLOCK, id: `other${round}` });
        await waitUntilOnline(guest.agent, [{ start: dimm.address, end: dimm.address + BLOCK }]);
        // A keeper that has just begun hashes the image first.
        await untilInstalled(2 * round + 1);
        await removeByOthers(outside, dimm.id);
        await untilInstalled(2 * round + 2);
      }
    } finally {
      stop.abort();
    }
    await watching;
    expect(failures).toEqual([]);
    expect(installs.map(({ stale }) => stale)).toEqual([false, true, false, true, false, true, false, true]);
    const reactions = installs.flatMap(({ stale, reactionMs }) => (stale ? [reactionMs ?? Number.NaN] : []));
    console.log(`keep's reactions to removals: ${reactions.map((ms) => ms.toFixed(1)).join(", ")} ms`);
    expect((await keeper.audit()).verdict).toBe("accurate");
  });
});

/** Runs `unplug` and sends it SIGINT as soon as QEMU says `event`. `told`: whether what it said fits. */
async function interruptedAt(
  outside: QemuGuest,
  target: string,
  name: string,
  event: string,
): Promise<{ readonly code: number | null; readonly told: boolean; readonly text: string }> {
  const seen = outside.qmp.waitForEvent(event, { timeoutMs: 30_000 });
  seen.catch(() => undefined);
  const run = startCli(["unplug", target, name]);
  await Promise.race([seen, run.result]);
  run.child.kill("SIGINT");
  const { code, stdout, stderr } = await run.result;
  const line = new RegExp(`^${name}: 128 MiB (not gone as far as is known: it was asked for|removed)[,;] `);
  const left = new RegExp(
    `^${name} (is not gone as far as is known, .* may give it up at any time|was removed, but the header may still describe it)|^Interrupted; nothing was left half done`,
  );
  const told = line.test(stdout) && (code === 0 ? stderr === "" : left.test(stderr));
  return { code, told, text: `${stdout}${stderr}` };
}

async function rangesOf(outside: QemuGuest): Promise<readonly StageDimm["range"][]> {
  return parseMemoryDevices(await outside.memoryDevices()).flatMap(({ range }) => (range ? [range] : []));
}

/** Waits until the guest has given `name` up. */
async function untilGone(outside: QemuGuest, name: string): Promise<void> {
  const there = (): Promise<boolean> =>
    outside.memoryDevices().then((reply) => parseMemoryDevices(reply).some(({ id }) => id === name));
  await vi.waitUntil(async () => !(await there()), { timeout: 60_000, interval: 100 });
}

/** Waits until the guest has so many DIMMs. */
async function untilCount(outside: QemuGuest, count: number): Promise<void> {
  await vi.waitUntil(async () => (await rangesOf(outside)).length === count, {
    timeout: 60_000,
    interval: 100,
  });
}
