/** What happens in the guest of a policy's run, and what is asked of it. */
import { setTimeout as delay } from "node:timers/promises";
import { PAGE_SIZE } from "../../image/bytes.ts";
import { type Audit, auditMachine } from "../../keeper/audit.ts";
import { QemuGuest } from "../../targets/qemu/guest.ts";
import { QemuMachine } from "../../targets/qemu/machine.ts";
import { isDimmAdded, parseOspmStatus } from "../../targets/qemu/ospm.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LostGuestError, MeasurementError } from "../errors.ts";
import { loadCaptureKernel } from "../guest-actions.ts";
import type { LabGuest } from "../guest.ts";
import { type OutsideInstall, OutsideKeeper } from "../outside-keeper.ts";
import type { PolicyCase } from "../policy-run.ts";
import { type MemoryEvent, readMonitor, startMonitor } from "../udev-monitor.ts";
import { startUdev } from "../udev.ts";
import type { Observation } from "../window/poll.ts";
import { hostNow, WindowPoller } from "../window/poller.ts";
import { findPlaces } from "../window/symbols.ts";
import type { Plug } from "./costs.ts";
import { LOG_PATH, parsePolicyLog, type PolicyLog } from "./log.ts";
import type { LabPolicy } from "./policy.ts";
import { policyScripts } from "./scripts.ts";

/** The window before the plug, in which the poller sees the state at rest. */
const BASELINE_MS = 200;
/** Between two looks whether the guest has come to rest: each starts programs there. */
const LOOK_MS = 500;
/** A reload per block takes 1.3 to 2.8 s on TCG. */
const MS_PER_BLOCK = 6_000;
/** The guest has a DIMM of 8 GiB within a second, one of 480 GiB, whose page structures are 7.5 GiB, within a minute. */
const ADD_TIMEOUT_MS = 300_000;

/** What was seen of one run, from outside and inside. */
export interface Played {
  readonly release: string;
  readonly kernelUpdates: boolean;
  readonly observation: Observation;
  readonly plugs: readonly Plug[];
  /** Blocks that were added. */
  readonly blocks: number;
  readonly blockBytes: number;
  /** Memory events from the plug on. */
  readonly events: readonly MemoryEvent[];
  /** A burst of events afterwards, that no rule matches. */
  readonly idleEvents: readonly MemoryEvent[];
  readonly log: PolicyLog;
  readonly installs: readonly OutsideInstall[];
  /** After all had come to rest. */
  readonly audit: Audit;
}

/** Plays one case in `guest`, to the guest's last word. */
export async function playPolicy(
  guest: LabGuest,
  policy: LabPolicy,
  wanted: PolicyCase,
  signal: AbortSignal | undefined,
): Promise<Played> {
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
  const seen = { observation, plugs, blocks, blockBytes, events, idleEvents };
  return { release: guest.release, kernelUpdates, ...seen, log, installs, audit };
}

async function updatesItself({ agent }: LabGuest): Promise<boolean> {
  return (await agent.run("grep -q 1 /sys/devices/system/memory/crash_hotplug")).status === 0;
}

/**
 * A burst of events that no rule matches, for what udevd itself costs: after the run, or the run would find its
 * workers forked already. The first burst forks them, the second counts.
 */
async function idleBurst({ agent }: LabGuest): Promise<readonly MemoryEvent[]> {
  const burst = "udevadm trigger --action=change --subsystem-match=memory && udevadm settle --timeout=300";
  await agent.output(burst, ADD_TIMEOUT_MS);
  const before = (await readMonitor(agent)).length;
  await agent.output(burst, ADD_TIMEOUT_MS);
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
    .waitForEvent(
      ({ event, data }) => {
        const status = event === "ACPI_DEVICE_OST" ? parseOspmStatus(data) : undefined;
        return status !== undefined && isDimmAdded(status);
      },
      { timeoutMs: ADD_TIMEOUT_MS },
    )
    .then(hostNow);
  // A plug that fails is told of first.
  added.catch(() => undefined);
  const at = hostNow();
  const { address, size } = await lab.plugDimm({ size: BigInt(sizeMiB) << 20n, shared: { kind: "memfd" } });
  poller.follow(lab.memory);
  return { at, added: await added, start: address, end: address + size };
}

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
export async function untilQuiet({ agent }: Pick<LabGuest, "agent">, deadline: number): Promise<PolicyLog> {
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
