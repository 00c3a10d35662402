/**
 * Re-arms of a real kernel: planned from outside, where all of memory can be read, and called from inside by the guest's own
 * Node; then a panic, and the dump compared with memory.
 */
import { afterAll, describe, expect, test } from "vitest";
import { locateImage } from "../../src/image/locate.ts";
import { identityMapped } from "../../src/image/identity-map.ts";
import { planRearm, type RearmPlan } from "../../src/image/rearm.ts";
import type { RearmFacts } from "../../src/image/rearm-image.ts";
import { confirmRearm, verifyRearm } from "../../src/image/rearm-verify.ts";
import type { AgentChannel } from "../../src/lab/channel.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import {
  fillMemory,
  type LoadCall,
  onlineMemory,
  panic,
  waitUntilOnline,
  writeGuestFiles,
} from "../../src/lab/guest-actions.ts";
import { runProgram, text } from "../../src/lab/guest-process.ts";
import { GUEST_NODE } from "../../src/lab/node.ts";
import { parseIomem } from "../../src/layout/iomem.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { plugDimm } from "../../src/targets/qemu/plug.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("re-arms", "6.1", { node: true });
afterAll(() => lab?.close());

const HOT = 4n << 30n;
const GIB = 1n << 30n;
const CALLS: readonly LoadCall[] = ["kexec_file_load", "kexec_load"];
/** Base64 in one line of shell. */
const CHUNK = 24_000;
const CALL_MS = 120_000;

/** Makes the call that /tmp/plan.json describes; prints how long it took, ms. */
const SCRIPT = `
import { readFileSync } from "node:fs";
import { loadSystemCalls } from "/opt/kdump-hotplug/dist/targets/local/system-calls.js";
import { prepareLoad } from "/opt/kdump-hotplug/dist/targets/local/kexec-load.js";
const plan = JSON.parse(readFileSync("/tmp/plan.json", "utf8"));
const segments = plan.segments.map(({ address, size, bytes }) => ({
  address: BigInt(address), size, bytes: new Uint8Array(Buffer.from(bytes, "base64")),
}));
const limits = { crash: { start: BigInt(plan.crash[0]), end: BigInt(plan.crash[1]) }, memTotal: BigInt(plan.memTotal) };
const load = prepareLoad(await loadSystemCalls(), { entry: BigInt(plan.entry), segments }, limits);
console.log(load.load().toFixed(2));
`;

describe.skipIf(!lab).each(CALLS)("Linux 6.1, loaded by %s", (load) => {
  test("dumps added memory completely after two re-arms in a row", async () => {
    await using guest = await lab!.bootLoaded({ load });
    await using machine = await QemuMachine.open(guest.qmpPath);
    await using qemu = await QemuGuest.open(guest.labQmpPath);
    await writeGuestFiles(guest.agent, [{ path: "/tmp/rearm.mjs", mode: 0o644, text: SCRIPT }]);
    const dimms: PhysicalRange[] = [];
    for (let i = 0n; i < 2n; i++) {
      const range = { start: HOT + 2n * i * GIB, end: HOT + (2n * i + 1n) * GIB };
      await plugDimm(qemu.qmp, { size: GIB, address: range.start });
      dimms.push(range);
      await waitUntilOnline(guest.agent, dimms);
      await qemu.memory.refresh();
      const facts = await factsOf(guest.agent);
      const plan = await planOf(machine, facts);
      await confirmRearm(machine.memory, plan);
      const took = await call(guest.agent, plan, facts.totalRam);
      const outcome = await verifyRearm(machine.memory, nodeSha256, plan);
      console.log(
        `6.1 ${load}: ${plan.segments.length} segments of ${plan.segments.reduce((sum, { size }) => sum + size, 0)} bytes listed, ${plan.residual.length} left, ${plan.controlPages.length} places of control pages; kexec_load took ${took} ms`,
      );
      expect(outcome).toEqual({ state: "armed" });
    }
    await fillMemory(guest.agent, 1536);
    const online = await onlineMemory(guest.agent);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(guest.agent);
    expect(online.subtract(vmcore!.described).ranges).toEqual([]);
    const fullest = await fullestOf(qemu, dimms);
    const { equal, nonZero } = await comparePages(
      guest.agent,
      qemu.memory,
      vmcore!,
      fullest,
      seededRandom(1),
    );
    expect(equal).toBe(PAGES_PER_DIMM);
    // What does not fit elsewhere fills at least a third of one of them; pages without data prove nothing.
    expect(nonZero).toBeGreaterThan(PAGES_PER_DIMM / 4);
    await guest.agent.finish("capture");
  });
});

/** The one of `dimms` of which the most pages hold data. */
async function fullestOf(qemu: QemuGuest, dimms: readonly PhysicalRange[]): Promise<PhysicalRange> {
  let best = { range: dimms[0]!, pages: -1 };
  for (const range of dimms) {
    let pages = 0;
    for (let i = 0n; i < 32n; i++) {
      const bytes = await qemu.memory.read(range.start + (i * GIB) / 32n, 4096);
      if (bytes.some((byte) => byte !== 0)) pages++;
    }
    if (pages > best.pages) best = { range, pages };
  }
  return best.range;
}

/** What the guest's kernel says of itself. */
async function factsOf(agent: AgentChannel): Promise<RearmFacts> {
  const flags = await agent.output("grep -m1 ^flags /proc/cpuinfo");
  const total = await agent.output("grep ^MemTotal /proc/meminfo");
  return {
    mapped: identityMapped(parseIomem(await agent.output("cat /proc/iomem"))),
    levels: / la57( |$)/m.test(flags) ? 5 : 4,
    gibPages: / pdpe1gb( |$)/m.test(flags),
    totalRam: BigInt(/\d+/.exec(total)![0]) * 1024n,
    updatesElfcorehdr: false,
  };
}

async function planOf(machine: QemuMachine, facts: RearmFacts): Promise<RearmPlan> {
  const location = await locateImage(machine.memory, nodeSha256);
  if (location.found !== "image") throw new Error(`Expected an image, found ${JSON.stringify(location)}`);
  const wanted = wantedHeader(location.image.header, await machine.layout());
  return planRearm(machine.memory, nodeSha256, location.image, wanted, facts);
}

/** @returns how long the system call took, ms. */
async function call(agent: AgentChannel, plan: RearmPlan, memTotal: bigint): Promise<string> {
  const crash = plan.madeFor.image.crashMemory.ranges.find(
    ({ start, end }) => start <= plan.entry && plan.entry < end,
  )!;
  const json = JSON.stringify({
    entry: `${plan.entry}`,
    crash: [`${crash.start}`, `${crash.end}`],
    memTotal: `${memTotal}`,
    segments: plan.segments.map(({ address, size, bytes }) => ({
      address: `${address}`,
      size,
      bytes: Buffer.from(bytes).toString("base64"),
    })),
  });
  await agent.output("rm -f /tmp/plan.json");
  for (let at = 0; at < json.length; at += CHUNK) {
    const part = Buffer.from(json.slice(at, at + CHUNK)).toString("base64");
    await agent.output(`echo ${part} | base64 -d >> /tmp/plan.json`);
  }
  const { status, stdout, stderr } = await runProgram(agent, [GUEST_NODE, "/tmp/rearm.mjs"], CALL_MS);
  expect({ status, stderr: text(stderr) }).toEqual({ status: 0, stderr: "" });
  return text(stdout).trim();
}
