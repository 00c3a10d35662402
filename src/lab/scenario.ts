/**
 * One scenario on a real kernel: boot, load the capture kernel, add memory, keep the header true or leave it, panic,
 * and look at the dump from the capture kernel's side.
 */
import { bytesWritten } from "../image/plan.ts";
import { type Plugged, plugMemory } from "../keeper/plug.ts";
import { parseMemoryDevices } from "../layout/qmp.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { Audit } from "../keeper/audit.ts";
import { Keeper } from "../keeper/keeper.ts";
import { QemuGuest } from "../targets/qemu/guest.ts";
import { QemuMachine } from "../targets/qemu/machine.ts";
import { nodeSha256 } from "../targets/sha256.ts";
import { GuestCommandError, LostGuestError } from "./errors.ts";
import { comparePages, pageDoubts, type PageEvidence, readVmcore } from "./evidence.ts";
import { type AcceleratorChoice, LabGuest } from "./guest.ts";
import type { GuestMachine } from "./guest-machine.ts";
import {
  fillMemory,
  type LoadCall,
  loadCaptureKernel,
  onlineMemory,
  panic,
  waitUntilOnline,
} from "./guest-actions.ts";
import { seededRandom } from "../simulation/random.ts";

/**
 * Who keeps the header true: nobody (on 6.12 the kernel itself may); we from outside, after somebody else plugged;
 * or we, because we plug, header first.
 */
export type Way = "nothing" | "in-place" | "plug";

/** What is run. */
export interface Scenario {
  readonly load: LoadCall;
  readonly way: Way;
  readonly ramMiB: number;
  readonly crashkernelMiB: number;
  readonly ram: "shared" | "private";
  /** Sizes of the DIMMs that are added, in this order, MiB. */
  readonly dimmsMiB: readonly number[];
  /** Whether the capture kernel is told not to look for hot-added memory. */
  readonly acpiNoMemhotplug: boolean;
  /** Of the sampled pages. */
  readonly seed: number;
}

/** What a guest is made of, ready to boot. Paths on this machine. */
export interface LabParts {
  readonly qemu: string;
  readonly vmlinuz: string;
  readonly initramfs: string;
  readonly accelerator: AcceleratorChoice;
}

/** What we did from outside, as it says itself. */
export interface KeeperEvidence {
  readonly access: string;
  readonly before: Audit;
  readonly after: Audit;
  /** The longest, where there were several. */
  readonly pauseMicroseconds: number | undefined;
  readonly bytesWritten: number;
}

/** What a scenario gave. Durations in milliseconds. */
export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly release: string;
  /** Boots that it took; a guest that dies before the scenario begins is started again. */
  readonly boots: number;
  readonly timings: Readonly<
    Record<"boot" | "load" | "plug" | "fill" | "keep" | "capture" | "evidence", number>
  >;
  /** Memory that the first kernel had online at the panic, crash memory excepted. */
  readonly online: RangeSet;
  readonly keeper: KeeperEvidence | undefined;
  /** Whether a capture kernel came up and had a /proc/vmcore. */
  readonly outcome: "complete" | "incomplete" | "no-dump";
  /** Why it is not complete; empty where it is. */
  readonly reasons: readonly string[];
  readonly inDump: RangeSet;
  /** Online and not in the dump. */
  readonly missing: RangeSet;
  readonly pages: readonly PageEvidence[];
}

/** How many times a guest that dies before the scenario begins is started again. */
const MAX_RESTARTS = 2;

/** What a scenario is made of, in order. */
export type ScenarioStep = "boot" | "load" | "plug" | "fill" | "keep" | "capture" | "evidence";

export interface ScenarioOptions {
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Called as each step begins. */
  readonly begins?: ((step: ScenarioStep) => void) | undefined;
}

/** Runs `scenario` in a guest of its own. */
export async function runScenario(
  parts: LabParts,
  scenario: Scenario,
  options: ScenarioOptions,
): Promise<ScenarioResult> {
  const started = performance.now();
  options.begins?.("boot");
  const booted = await bootPatiently(parts, scenario, options);
  await using guest = booted.guest;
  return await withLastWords(guest, options, async () =>
    play(guest, scenario, booted.boots, performance.now() - started, options),
  );
}

/** Runs `work`; where that fails in the guest, what its console said at last is logged. */
export async function withLastWords<T>(
  guest: LabGuest,
  options: { readonly log: (line: string) => void; readonly signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof LostGuestError || error instanceof GuestCommandError) {
      options.log(await lastWords(guest));
    }
    throw error;
  }
}

async function lastWords(guest: LabGuest): Promise<string> {
  return `The guest's console said at last:\n${await guest.consoleTail()}`;
}

/** Boots a guest. One that dies before it gets to its shell is started again, and KVM that does not work is given up. */
export async function bootPatiently(
  parts: LabParts,
  wanted: GuestMachine,
  options: { readonly log: (line: string) => void; readonly signal?: AbortSignal | undefined },
): Promise<{ readonly guest: LabGuest; readonly boots: number }> {
  for (let boots = 1; ; boots++) {
    try {
      return { guest: await LabGuest.boot({ ...wanted, ...parts, signal: options.signal }), boots };
    } catch (error) {
      if (!(error instanceof LostGuestError)) throw error;
      if (parts.accelerator.current === "kvm") {
        parts.accelerator.giveUpKvm();
        options.log("/dev/kvm is there but a guest does not get through its boot on it: going on with TCG");
        boots = 0;
        continue;
      }
      if (boots > MAX_RESTARTS) throw error;
      options.log(`${error.message}\nStarting it again (${boots} of ${MAX_RESTARTS})`);
    }
  }
}

async function play(
  guest: LabGuest,
  scenario: Scenario,
  boots: number,
  bootMs: number,
  { log, begins }: ScenarioOptions,
): Promise<ScenarioResult> {
  const clock = stopwatch();
  const { agent } = guest;
  begins?.("load");
  await loadCaptureKernel(agent, scenario);
  const load = clock();
  begins?.("plug");
  await using lab = await QemuGuest.open(guest.labQmpPath);
  const plugged =
    scenario.way === "plug" ? await plugHeaderFirst(guest.qmpPath, scenario.dimmsMiB) : undefined;
  if (!plugged) {
    // The lab is "somebody else who plugs": it has a QMP connection of its own.
    for (const size of scenario.dimmsMiB) await lab.plugDimm({ size: BigInt(size) << 20n });
  }
  const dimms = parseMemoryDevices(await lab.memoryDevices()).flatMap(({ range }) => (range ? [range] : []));
  await waitUntilOnline(agent, dimms);
  const plug = clock();
  begins?.("fill");
  await fillMemory(
    agent,
    scenario.dimmsMiB.reduce((sum, size) => sum + size, 0),
  );
  const fill = clock();
  begins?.("keep");
  const keeper = scenario.way === "in-place" ? await keepFromOutside(guest.qmpPath) : plugged;
  const keep = clock();

  begins?.("capture");
  const online = await onlineMemory(agent);
  log(`${guest.release}: panic with ${online.toString()} online`);
  const captured = await panic(guest);
  const capture = clock();
  begins?.("evidence");
  const vmcore = captured ? await readVmcore(agent) : undefined;
  const pages: PageEvidence[] = [];
  const random = seededRandom(scenario.seed);
  if (vmcore) {
    for (const dimm of dimms) pages.push(await comparePages(agent, lab.memory, vmcore, dimm, random));
  }
  if (captured) await agent.finish("capture");
  const inDump = vmcore?.described ?? RangeSet.empty;
  const missing = online.subtract(inDump);
  const reasons = vmcore
    ? whatIsWrong(missing, pages)
    : [captured ? "The capture kernel has no /proc/vmcore" : "No capture kernel came up"];
  return {
    scenario,
    release: guest.release,
    boots,
    timings: { boot: bootMs, load, plug, fill, keep, capture, evidence: clock() },
    online,
    keeper,
    outcome: !vmcore ? "no-dump" : reasons.length === 0 ? "complete" : "incomplete",
    reasons,
    inDump,
    missing,
    pages,
  };
}

/** What an operator on the host does: `kdump-hotplug keep --once qmp:PATH`. */
async function keepFromOutside(qmpPath: string): Promise<KeeperEvidence> {
  await using machine = await QemuMachine.open(qmpPath);
  const { before, after, installed } = await new Keeper(machine, nodeSha256).reconcile();
  return {
    access: machine.memory.access,
    before,
    after,
    pauseMicroseconds: installed?.pauseMicroseconds,
    bytesWritten: bytesWritten(installed?.writes ?? []),
  };
}

/** What an operator on the host does instead: `kdump-hotplug plug qmp:PATH`. */
async function plugHeaderFirst(qmpPath: string, dimmsMiB: readonly number[]): Promise<KeeperEvidence> {
  await using machine = await QemuMachine.open(qmpPath);
  const keeper = new Keeper(machine, nodeSha256);
  const before = await keeper.audit();
  const plugged: Plugged[] = [];
  for (const size of dimmsMiB) plugged.push(await plugMemory(machine, keeper, BigInt(size) << 20n));
  return {
    access: machine.memory.access,
    before,
    after: plugged.at(-1)?.after ?? before,
    pauseMicroseconds: Math.max(...plugged.map((dimm) => dimm.pauseMicroseconds ?? 0)),
    bytesWritten: plugged.reduce((sum, dimm) => sum + dimm.bytesWritten, 0),
  };
}

function whatIsWrong(missing: RangeSet, pages: readonly PageEvidence[]): readonly string[] {
  const reasons: string[] = [];
  if (!missing.isEmpty) reasons.push(`The dump does not describe ${missing.toString()}`);
  for (const evidence of pages) {
    const { range, sampled, nonZero } = evidence;
    const where = RangeSet.of([range]).toString();
    reasons.push(...pageDoubts(evidence));
    if (nonZero * 2 < sampled)
      reasons.push(`Only ${nonZero} of ${sampled} pages of ${where} held data: too few to prove anything`);
  }
  return reasons;
}

function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const passed = now - last;
    last = now;
    return passed;
  };
}
