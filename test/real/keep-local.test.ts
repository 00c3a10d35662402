/**
 * `keep local` inside real guests: DIMMs and CPUs come and go by somebody else's hand, the agent brings the loaded image up
 * to date from inside, and what it says is compared with what is seen of the same guest from outside; then a panic.
 */
import { afterAll, describe, expect, test, vi } from "vitest";
import type { Audit } from "../../src/keeper/audit.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { ROOM_FOR_RANGES } from "../../src/keeper/inside.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import type { KernelSeries } from "../../src/lab/fetch/kernel.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import {
  bringCpuOnline,
  fillMemory,
  type LoadCall,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "../../src/lab/guest-actions.ts";
import { GuestProcess, runProgram, text } from "../../src/lab/guest-process.ts";
import { GUEST_KDUMP_HOTPLUG } from "../../src/lab/node.ts";
import { auditJson } from "../../src/report/audit.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { plugCpu } from "../../src/targets/qemu/plug.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { fieldsOf } from "./cli.ts";
import { linesForTest } from "../docs/in-guests.ts";
import { configureLikeDebian, FULL_LOAD } from "./full-load.ts";
import { type Lab, openLab } from "./lab.ts";

const GIB = 1n << 30n;
/** Starting the program takes a guest on TCG some 10 s, a hash of the image some seconds. */
const LIMIT_MS = 240_000;
const BOOT_CPUS = 2;
const AUTO_ONLINE = "/sys/devices/system/memory/auto_online_blocks";

/** One guest, with the agent in it and two connections from outside. */
class Kept implements AsyncDisposable {
  readonly guest: LabGuest;
  readonly others: QemuGuest;
  readonly #machine: QemuMachine;
  /** Looks where it found the image last; a search through all RAM would take the guest's processor. */
  readonly #keeper: Keeper;

  private constructor(guest: LabGuest, machine: QemuMachine, others: QemuGuest) {
    this.guest = guest;
    this.#machine = machine;
    this.#keeper = new Keeper(machine, nodeSha256);
    this.others = others;
  }

  static async of(guest: LabGuest): Promise<Kept> {
    await guest.agent.output(`echo online_movable > ${AUTO_ONLINE}`);
    return new Kept(guest, await QemuMachine.open(guest.qmpPath), await QemuGuest.open(guest.labQmpPath));
  }

  /** What is seen from outside. */
  async seen(): Promise<Audit> {
    return await this.#keeper.audit();
  }

  /** Waits until the header is true, seen from outside. */
  async accurate(): Promise<void> {
    await vi.waitUntil(async () => (await this.seen().catch(() => undefined))?.verdict === "accurate", {
      timeout: LIMIT_MS,
      interval: 1000,
    });
  }

  async plug(id: string): Promise<PhysicalRange> {
    const dimm = await this.others.plugDimm({ size: GIB, id });
    const range = { start: dimm.address, end: dimm.address + GIB };
    await waitUntilOnline(this.guest.agent, [range]);
    return range;
  }

  async unplug(id: string): Promise<void> {
    const gone = this.others.qmp.waitForEvent("DEVICE_DELETED", { timeoutMs: 60_000 });
    gone.catch(() => undefined);
    await this.others.qmp.execute("device_del", { id });
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine[Symbol.asyncDispose]();
    await this.others[Symbol.asyncDispose]();
  }
}

/** Starts the agent, which sees the same image as we do from outside. */
async function startAgent(kept: Kept): Promise<GuestProcess> {
  const agent = await GuestProcess.start(kept.guest.agent, [GUEST_KDUMP_HOTPLUG, "keep", "local", "--json"]);
  const { stdout } = await agent.printed(/"verdict":"accurate"/, LIMIT_MS);
  const [first = ""] = text(stdout).split("\n");
  const seen: unknown = JSON.parse(JSON.stringify(auditJson("local", await kept.seen())));
  expect(fieldsOf(fieldsOf(JSON.parse(first))["audit"])["image"]).toEqual(fieldsOf(seen)["image"]);
  return agent;
}

/** Panics; the dump has all that was online, and the pages of `dimm`. */
async function dumped({ guest, others }: Kept, dimm: PhysicalRange): Promise<void> {
  const { agent } = guest;
  await fillMemory(agent, 1536);
  const online = await onlineMemory(agent);
  expect(await panic(guest)).toBe(true);
  const vmcore = await readVmcore(agent);
  expect(online.subtract(vmcore!.described).ranges).toEqual([]);
  const { equal } = await comparePages(agent, others.memory, vmcore!, dimm, seededRandom(1));
  expect(equal).toBe(PAGES_PER_DIMM);
  await agent.finish("capture");
}

/** The most that the agent has had in memory, MiB. */
async function peakMiB({ guest }: Kept, { pid }: GuestProcess): Promise<number> {
  const line = await guest.agent.output(`grep VmHWM /proc/${pid}/status`);
  return Number(/^VmHWM:\s+(\d+) kB$/.exec(line.trim())![1]) / 1024;
}

type Fields = ReturnType<typeof fieldsOf>;

/** Ends it as Ctrl-C would. @returns what it installed, in the order in which it did. */
async function ended(agent: GuestProcess, what: string): Promise<readonly Fields[]> {
  await agent.signal("INT");
  const { status, stdout, stderr } = await agent.end(LIMIT_MS);
  expect(status).toBe(130);
  expect(["", "Interrupted; nothing was left half done\n"]).toContain(text(stderr));
  const lines = text(stdout).trim().split("\n");
  const installs = lines
    .map((line) => fieldsOf(JSON.parse(line)))
    .filter(({ event }) => event === "installed")
    .map(({ installed, reactionMs }) => ({ ...fieldsOf(installed), reactionMs }));
  for (const install of installs) console.log(`${what}: ${JSON.stringify(install)}`);
  return installs;
}

async function run(guest: LabGuest, ...args: readonly string[]): Promise<Fields> {
  const { status, stdout, stderr } = await runProgram(
    guest.agent,
    [GUEST_KDUMP_HOTPLUG, ...args, "--json"],
    LIMIT_MS,
  );
  expect({ status, stderr: text(stderr) }).toEqual({ status: 0, stderr: "" });
  return fieldsOf(JSON.parse(text(stdout)));
}

/** Runs a line of a document's, as it stands there. */
async function literally(
  guest: LabGuest,
  line: readonly string[],
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  const { status, stdout, stderr } = await runProgram(guest.agent, [GUEST_KDUMP_HOTPLUG, ...line], LIMIT_MS);
  return { status, stdout: text(stdout), stderr: text(stderr) };
}

/** What documents show to be run in a machine like this, by what it does. */
const lines = await linesForTest(import.meta.filename);
const documented = {
  loads: lines.filter(([command]) => command === "load"),
  keepers: lines.filter(
    (line) => line[0] === "keep" && !line.includes("--once") && !line.includes("--dry-run"),
  ),
  looks: lines.filter((line) => line.includes("--dry-run")),
  repairs: lines.filter((line) => line.includes("--once") && !line.includes("--dry-run")),
};
test("the documents show lines of each kind, and none of another", () => {
  const kinds = Object.values(documented);
  for (const kind of kinds) expect(kind).not.toEqual([]);
  expect(kinds.flat()).toHaveLength(lines.length);
});

/** It takes a guest on TCG some minutes: other pairs are panicked in campaigns (`lab campaign --way re-arm`). */
const CASES: readonly (readonly [KernelSeries, LoadCall])[] = [["5.10", "kexec_load"]];

const labs = new Map<KernelSeries, Lab>();
for (const series of ["5.10", "6.1", "6.12"] as const) {
  const lab = await openLab(`keep local on Linux ${series}`, series, { node: true });
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

describe.each(CASES)("Linux %s, loaded by %s", (series, load) => {
  test.skipIf(!labs.has(series))("is re-armed from inside for each change, and dumps it all", async () => {
    await using guest = await labs.get(series)!.bootLoaded({ ramMiB: 1536, load });
    await using kept = await Kept.of(guest);
    const agent = await startAgent(kept);
    await kept.plug("first");
    await kept.accurate();
    await plugCpu(kept.others.qmp);
    await bringCpuOnline(guest.agent, BOOT_CPUS);
    await kept.unplug("first");
    await kept.accurate();
    const dimm = await kept.plug("second");
    await kept.accurate();
    const peak = await peakMiB(kept, agent);
    console.log(`${series} ${load}: the agent had ${peak.toFixed(0)} MiB in memory at most`);
    // Asked: 80.
    expect(peak).toBeLessThan(100);
    const installs = await ended(agent, `${series} ${load}`);
    expect(installs.length).toBeGreaterThanOrEqual(3);
    expect(new Set(installs.map(({ way }) => way))).toEqual(new Set(["re-arm"]));
    await dumped(kept, dimm);
  });
});

describe("Linux 6.12, which keeps the header of kexec_file_load itself", () => {
  test.skipIf(!labs.has("6.12"))("is left to do so, and corrected after a removal", async () => {
    await using guest = await labs.get("6.12")!.bootLoaded({ ramMiB: 1536, load: "kexec_file_load" });
    await using kept = await Kept.of(guest);
    const agent = await startAgent(kept);
    await kept.plug("first");
    await kept.accurate();
    await kept.unplug("first");
    await kept.accurate();
    const hotplug = "cat /sys/devices/system/memory/crash_hotplug";
    expect((await guest.agent.output(hotplug)).trim()).toBe("1");
    const dimm = await kept.plug("second");
    await kept.accurate();
    const installs = await ended(agent, "6.12 kexec_file_load");
    expect(installs).toMatchObject([{ way: "re-arm", leftByKernel: true }]);
    await dumped(kept, dimm);
  });
});

describe("Linux 6.1", () => {
  test.skipIf(!labs.has("6.1"))(
    "is loaded in full where it hides what a re-arm needs, and by the documents' own lines loaded with room, and kept after kill -9",
    async () => {
      await using guest = await labs.get("6.1")!.bootLoaded({ ramMiB: 1536, load: "kexec_file_load" });
      await using kept = await Kept.of(guest);
      await guest.agent.output("echo 2 > /proc/sys/kernel/kptr_restrict");
      await kept.plug("first");
      const full = await run(guest, "keep", "local", "--once", ...FULL_LOAD);
      console.log(`6.1, in full: ${JSON.stringify(full["installed"])}`);
      expect(full).toMatchObject({ verdict: "accurate", installed: { way: "full-load" } });
      expect((await kept.seen()).verdict).toBe("accurate");
      await guest.agent.output("echo 0 > /proc/sys/kernel/kptr_restrict");

      await configureLikeDebian(guest.agent);
      for (const line of documented.loads) {
        const { status, stdout, stderr } = await literally(guest, line);
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        expect(stdout).toMatch(
          /^local: loaded \(kdump-tools .*\n +re-armed: .*: the header has room to grow\n/,
        );
        expect(stdout).toMatch(/\nlocal: accurate\n/);
        expect(stdout).not.toMatch(/^ +but /m);
      }
      expect((await kept.seen()).image!.headerCapacity).toBeGreaterThan(ROOM_FOR_RANGES * 56);

      const dimms: PhysicalRange[] = [];
      for (const [i, line] of documented.keepers.entries()) {
        const agent = await GuestProcess.start(guest.agent, [GUEST_KDUMP_HOTPLUG, ...line]);
        await agent.printed(/accurate/, LIMIT_MS);
        dimms.push(await kept.plug(`documented${i}`));
        await agent.signal("KILL");
        expect((await agent.end(LIMIT_MS)).status).toBe(128 + 9);
        expect(["accurate", "inaccurate"]).toContain((await kept.seen()).verdict);
      }
      const journal = await literally(guest, ["journal", "--target", "local"]);
      expect(journal).toMatchObject({ status: 0, stdout: expect.stringMatching(/ local: accurate \(/) });
      for (const line of documented.looks) {
        const before = await kept.seen();
        const { status, stdout, stderr } = await literally(guest, line);
        expect({ status, stderr }).toEqual({ status: before.verdict === "accurate" ? 0 : 1, stderr: "" });
        expect(stdout).toMatch(/^  would /m);
        expect((await kept.seen()).image!.header).toEqual(before.image!.header);
      }
      for (const line of documented.repairs) {
        const { status, stdout, stderr } = await literally(guest, line);
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        expect(stdout).toMatch(/^local: accurate\n/m);
        expect((await kept.seen()).verdict).toBe("accurate");
      }
      await dumped(kept, dimms.at(-1)!);
    },
  );
});
