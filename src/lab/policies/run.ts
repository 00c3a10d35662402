/**
 * One policy in a real guest with a real udevd: DIMMs are plugged by somebody else, the guest brings their blocks
 * online, and from outside it is seen for how long a panic would have given no dump, or one that lacks memory.
 */
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { type Audit, auditMachine, type Verdict } from "../../keeper/audit.ts";
import type { PhysicalRange } from "../../layout/range.ts";
import { QemuGuest } from "../../targets/qemu/guest.ts";
import { QemuMachine } from "../../targets/qemu/machine.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LostGuestError, MeasurementError } from "../errors.ts";
import type { UdevSupply } from "../fetch/udev.ts";
import { type LoadCall, loadCaptureKernel } from "../guest-actions.ts";
import type { LabGuest } from "../guest.ts";
import { type OutsideInstall, OutsideKeeper } from "../outside-keeper.ts";
import { bootPatiently, type LabParts, withLastWords } from "../scenario.ts";
import { type MemoryEvent, readMonitor, startMonitor } from "../udev-monitor.ts";
import { startUdev } from "../udev.ts";
import { PAGE_SIZE } from "../../image/bytes.ts";
import type { Observation } from "../window/poll.ts";
import { hostNow, WindowPoller } from "../window/poller.ts";
import { findPlaces } from "../window/symbols.ts";
import { onlineBlocks, type Span, timelineOf, totalOf } from "../window/timeline.ts";
import { measureCosts, type MeasuredCosts, type Plug } from "./costs.ts";
import { LOG_PATH, parsePolicyLog, type PolicyLog } from "./log.ts";
import { labPolicy, type LabPolicy, type LabPolicyName } from "./policy.ts";
import { policyScripts } from "./scripts.ts";

/** What is run. Sizes in MiB. */
export interface PolicyCase {
  readonly policy: LabPolicyName;
  readonly load: LoadCall;
  readonly ramMiB: number;
  readonly crashkernelMiB: number;
  /** DIMMs in the order in which they are plugged, each once the guest has added the one before. */
  readonly dimmsMiB: readonly number[];
}

/** What a run gives and a simulator can predict. Times in milliseconds from the first `device_add`. */
export interface PolicyFigures {
  /** Loads of the capture kernel, after the first one. */
  readonly reloads: number;
  /** Time during which a panic would have given no dump: in all, at worst in one piece, and in how many. */
  readonly blindMs: number;
  readonly longestBlindMs: number;
  readonly blindWindows: number;
  /** Time during which a dump would have lacked memory that was online; for ever counts until the end of the run. */
  readonly staleMs: number;
  readonly longestStaleMs: number;
  /** Bytes that were missing, times the seconds that they were. */
  readonly missingByteSeconds: number;
  /** From when on kdump stayed accurate; undefined where it was not at the end. */
  readonly accurateAfterMs: number | undefined;
}

/** What a run gave: plain values, addresses nowhere. */
export interface PolicyRunResult {
  readonly case: PolicyCase;
  readonly release: string;
  readonly udev: Pick<UdevSupply, "suite" | "version">;
  /** Boots that it took. */
  readonly boots: number;
  /** Whether the guest's kernel rewrites the header by itself (`crash_hotplug`). */
  readonly kernelUpdates: boolean;
  /** Blocks that were added and came online. */
  readonly blocks: number;
  readonly blockBytes: number;
  /** Uevents of memory blocks, from the plug on. */
  readonly events: number;
  readonly figures: PolicyFigures;
  readonly costs: MeasuredCosts;
  /** Events that a throttler, or a load to come, took care of. */
  readonly throttled: number;
  /** Events that found nothing loaded. */
  readonly skipped: number;
  /** Headers that were seen in the loaded image, the first one not counted. */
  readonly headerChanges: number;
  /** What we installed from outside. */
  readonly installs: readonly OutsideInstall[];
  /** Until all had come to rest. */
  readonly runMs: number;
  /** How finely was measured. */
  readonly resolution: Pick<Observation, "samples" | "medianGapMs" | "worstGapMs">;
  /** The whole run in spans; times as in `figures`. */
  readonly spans: readonly Span[];
  readonly verdict: Verdict;
  readonly verdictReason: string;
  readonly promised: Verdict;
  /** One clause for each thing that went wrong; empty where all was as the policy promises. */
  readonly failures: readonly string[];
}

export interface PolicyRunOptions {
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs one case in a guest of its own.
 *
 * @param udev what the guest's initramfs has.
 * @throws {MeasurementError} where the run cannot be measured; {@link LostGuestError}, {@link GuestCommandError}.
 */
export async function runPolicy(
  parts: LabParts,
  wanted: PolicyCase,
  udev: Pick<UdevSupply, "suite" | "version">,
  options: PolicyRunOptions,
): Promise<PolicyRunResult> {
  const machine = { ...wanted, ram: "shared", addedMemory: "offline" } as const;
  const { guest, boots } = await bootPatiently(parts, machine, options);
  await using running = guest;
  return await withLastWords(running, options, async () => {
    const { suite, version } = udev;
    return { case: wanted, udev: { suite, version }, boots, ...(await play(running, wanted, options)) };
  });
}

type Played = Omit<PolicyRunResult, "case" | "udev" | "boots">;

async function play(
  guest: LabGuest,
  wanted: PolicyCase,
  { signal }: Pick<PolicyRunOptions, "signal">,
): Promise<Played> {
  const policy = labPolicy(wanted.policy);
  const { agent } = guest;
  const load = { load: wanted.load, acpiNoMemhotplug: true };
  await startUdev(agent, { rules: policy.rules, scripts: policyScripts(load) });
  await loadCaptureKernel(agent, load);
  const kernelUpdates = await updatesItself(guest);
  if (policy.needsKernel && !kernelUpdates)
    throw new MeasurementError(
      `Linux ${guest.release} with an image loaded by ${wanted.load} does not update its header itself (crash_hotplug is not 1)`,
    );
  const blockBytes = Number.parseInt(
    await agent.output("cat /sys/devices/system/memory/block_size_bytes"),
    16,
  );
  expectAccurate(await look(guest));

  await using lab = await QemuGuest.open(guest.labQmpPath);
  const places = await findPlaces(agent);
  await startMonitor(agent);

  await using keeper = policy.keeper ? await OutsideKeeper.start(guest.qmpPath) : undefined;
  await using poller = await WindowPoller.start(lab.memory, places);
  await delay(BASELINE_MS);
  const pagesBefore = poller.pages;
  const plugs: Plug[] = [];
  for (const size of wanted.dimmsMiB) plugs.push(await plug(lab, size, poller));
  const blocks = plugs.reduce((sum, { start, end }) => sum + Number(end - start), 0) / blockBytes;
  const pages = pagesBefore + (blocks * blockBytes) / PAGE_SIZE;
  const deadline = performance.now() + 60_000 + blocks * MS_PER_BLOCK;
  await untilOnline(guest, poller, pages, deadline, signal);
  const log = await untilQuiet(guest, deadline);
  const observation = await poller.stop();
  const installs = (await keeper?.stop()) ?? [];
  await keeper?.[Symbol.asyncDispose]();

  const events = await readMonitor(agent);
  const idleEvents = await idleBurst(guest);
  const audit = await look(guest);
  await agent.finish("guest");
  const measured = { observation, plugs, log, installs, kernelUpdates, blockBytes, blocks };
  return {
    release: guest.release,
    ...judge(policy, measured, { idleEvents, events }, audit),
  };
}

/** The window before the plug, in which the poller sees the state at rest. */
const BASELINE_MS = 200;
/** Between two looks whether the guest has come to rest: each starts programs there. */
const LOOK_MS = 500;
/** A reload per block takes 1.3 to 2.8 s on TCG. */
const MS_PER_BLOCK = 6_000;
/** The guest has a DIMM of 8 GiB within a second. */
const ADD_TIMEOUT_MS = 60_000;

async function updatesItself({ agent }: LabGuest): Promise<boolean> {
  return (await agent.run("grep -q 1 /sys/devices/system/memory/crash_hotplug")).status === 0;
}

/**
 * A burst of events that no rule matches, for what udevd itself costs: after the run, or the run would find its
 * workers forked already. The first burst forks them, the second counts.
 */
async function idleBurst({ agent }: LabGuest): Promise<readonly MemoryEvent[]> {
  const burst = "udevadm trigger --action=change --subsystem-match=memory && udevadm settle --timeout=30";
  await agent.output(burst);
  const before = (await readMonitor(agent)).length;
  await agent.output(burst);
  return (await readMonitor(agent)).slice(before);
}

/** An audit from outside, over a connection of its own. */
async function look(guest: LabGuest): Promise<Audit> {
  await using machine = await QemuMachine.open(guest.qmpPath);
  return await auditMachine(machine, nodeSha256);
}

function expectAccurate({ verdict, reason }: Audit): void {
  if (verdict !== "accurate")
    throw new MeasurementError(`kdump was ${verdict} before anything was plugged: ${reason}`);
}

/** Plugs a DIMM, and waits until the guest says that it has it. */
async function plug(lab: QemuGuest, sizeMiB: number, poller: WindowPoller): Promise<Plug> {
  const added = lab.qmp
    .waitForEvent(({ event, data }) => event === "ACPI_DEVICE_OST" && v.is(AddedSchema, data), {
      timeoutMs: ADD_TIMEOUT_MS,
    })
    .then(hostNow);
  // A plug that fails is told of first.
  added.catch(() => undefined);
  const at = hostNow();
  const { address, size } = await lab.plugDimm({ size: BigInt(sizeMiB) << 20n, shared: { kind: "memfd" } });
  poller.follow(lab.memory);
  return { at, added: await added, start: address, end: address + size };
}

/** Linux reports an insertion that went well as source 1 (device check), status 0 (drivers/acpi/scan.c). */
const AddedSchema = v.object({
  info: v.object({ "slot-type": v.literal("DIMM"), source: v.literal(1), status: v.literal(0) }),
});

/** Seen from outside: the guest is not asked anything meanwhile. */
async function untilOnline(
  guest: LabGuest,
  poller: WindowPoller,
  pages: number,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  while (poller.pages < pages) {
    if (guest.ended) throw new LostGuestError("QEMU has ended while the added memory came online");
    if (performance.now() > deadline)
      throw new MeasurementError(
        `The added memory did not come online: ${poller.pages} of ${pages} pages when the time was up`,
      );
    await delay(20, undefined, { signal });
  }
}

/**
 * Waits until udevd has no event left, and nothing that a rule started is still running: at two looks in a row, since
 * the last event may not have reached udevd at the first.
 */
async function untilQuiet({ agent }: LabGuest, deadline: number): Promise<PolicyLog> {
  for (let quiet = 0; ;) {
    const busy = (await agent.run("test -e /run/udev/queue")).status === 0;
    const log = parsePolicyLog(await agent.output(`cat ${LOG_PATH}`));
    quiet = busy || log.running > 0 ? 0 : quiet + 1;
    if (quiet === 2) return log;
    if (performance.now() > deadline)
      throw new MeasurementError(
        `The guest did not come to rest: ${log.running} reloads are still under way when the time is up`,
      );
    await delay(LOOK_MS);
  }
}

interface Measured {
  readonly observation: Observation;
  readonly plugs: readonly Plug[];
  readonly log: PolicyLog;
  readonly installs: readonly OutsideInstall[];
  readonly kernelUpdates: boolean;
  readonly blockBytes: number;
  readonly blocks: number;
}

interface SeenEvents {
  readonly idleEvents: readonly MemoryEvent[];
  readonly events: readonly MemoryEvent[];
}

function judge(
  policy: LabPolicy,
  measured: Measured,
  seen: SeenEvents,
  audit: Audit,
): Omit<Played, "release"> {
  const { observation, plugs, log, installs, kernelUpdates, blockBytes, blocks } = measured;
  const order = onlineOrder(seen.events, blockBytes);
  if (order.length !== blocks)
    throw new MeasurementError(
      `The guest told of ${order.length} blocks that came online, plugged were ${blocks}`,
    );
  const online = onlineBlocks(observation.pages, order);
  const from = plugs[0]!.at;
  const spans = timelineOf(observation, online, from);
  const { samples, medianGapMs, worstGapMs } = observation;
  // On a kernel that updates itself nobody else is needed.
  const promised = kernelUpdates ? "accurate" : policy.promise;
  const wrong = audit.verdict === promised ? [] : [`kdump is ${audit.verdict} at the end, not ${promised}`];
  const handled = log.reloads.length + log.throttled + log.skipped;
  // Beside the rule that brings memory online there is one that does something about each block.
  if (policy.rules.length > 1 && handled !== blocks)
    wrong.push(`${handled} of ${blocks} events led to a reload, or to one that was to come`);
  return {
    kernelUpdates,
    blocks,
    blockBytes,
    events: seen.events.length,
    figures: figuresOf(spans, log.reloads.length, from),
    costs: measureCosts({
      observation,
      plugs,
      blocks: online,
      ...seen,
      reloads: log.reloads,
      installs: policy.keeper ? observation.headers.slice(1).map(({ at }) => at) : [],
      kernelUpdates,
    }),
    throttled: log.throttled,
    skipped: log.skipped,
    headerChanges: Math.max(0, observation.headers.length - 1),
    installs: installs.map((install) => ({ ...install, at: install.at - from })),
    runMs: lastChange(observation) - from,
    resolution: { samples, medianGapMs, worstGapMs },
    spans: spans.map((span) => ({ ...span, start: span.start - from, end: span.end - from })),
    verdict: audit.verdict,
    verdictReason: audit.reason,
    promised,
    failures: [...wrong, ...log.failures],
  };
}

/** When something changed last. */
function lastChange({ states, headers, pages }: Observation): number {
  return Math.max(...[states, headers, pages].flatMap((records) => records.at(-1)?.at ?? []));
}

/** Blocks in the order in which the kernel told that they are online. */
function onlineOrder(events: readonly MemoryEvent[], blockBytes: number): readonly PhysicalRange[] {
  return events
    .filter(({ action }) => action === "online")
    .map(({ block }) => {
      const start = BigInt(block) * BigInt(blockBytes);
      return { start, end: start + BigInt(blockBytes) };
    });
}

function figuresOf(spans: readonly Span[], reloads: number, from: number): PolicyFigures {
  const blind = totalOf(spans, "blind");
  const stale = totalOf(spans, "stale");
  const atRest = spans.at(-1)?.state === "accurate";
  const lastWrong = spans.findLast(({ state }) => state !== "accurate");
  return {
    reloads,
    blindMs: blind.ms,
    longestBlindMs: blind.longestMs,
    blindWindows: blind.count,
    staleMs: stale.ms,
    longestStaleMs: stale.longestMs,
    missingByteSeconds: spans.reduce(
      (sum, { start, end, missingBytes }) => sum + (missingBytes * (end - start)) / 1000,
      0,
    ),
    accurateAfterMs: atRest ? (lastWrong?.end ?? from) - from : undefined,
  };
}
