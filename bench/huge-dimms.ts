/**
 * 480 GiB more for a guest of 32 GiB with Linux 6.12, whose kernel rewrites the header itself: how often its handler
 * is called and for how long, by ftrace, and how often we install, in the same run. Takes some minutes and 9 GiB of
 * memory.
 */
import { setTimeout as delay } from "node:timers/promises";
import { supply } from "../src/lab/fetch/supplies.ts";
import { AcceleratorChoice, LabGuest } from "../src/lab/guest.ts";
import { loadCaptureKernel } from "../src/lab/guest-actions.ts";
import { OutsideKeeper } from "../src/lab/outside-keeper.ts";
import { buildParts } from "../src/lab/parts.ts";
import { QemuGuest } from "../src/targets/qemu/guest.ts";
import { type Findings, measured } from "./stats.ts";

const BLOCK = 128n << 20n;
/**
 * 65 to 69 s on 6.1, where the kernel brings the blocks online by itself (design notes). 6.12, which rewrites the header
 * for each block, had 2,187 of 4,096 online after 600 s: then the blocks that came by then are what is told of.
 */
const ONLINE_TIMEOUT_MS = 1_200_000;
const TRACING = "/sys/kernel/tracing";
/** The kernel's notifier for each block; the rewriting of the header is in it (kernel/crash_core.c, 6.6 to 6.12). */
const NOTIFIER = "crash_memhp_notifier";
const REWRITE = "arch_crash_handle_hotplug_event";

/** Boots the guest, plugs `count` DIMMs of `size` bytes one after the other, and waits until all blocks are online. */
export async function benchHugeDimms(
  count: number,
  size: bigint,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<Findings> {
  const supplies = await supply({ kernel: "6.12", log, signal });
  await using parts = await buildParts(supplies, new AcceleratorChoice());
  await using guest = await LabGuest.boot({
    ...parts,
    ramMiB: 32 * 1024,
    crashkernelMiB: 256,
    ram: "shared",
    signal,
  });
  const { agent } = guest;
  await loadCaptureKernel(agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
  await agent.output(
    [
      `mount -t tracefs tracefs ${TRACING}`,
      `cd ${TRACING}`,
      "echo 16384 > buffer_size_kb",
      `echo p:kdh/rewrite ${REWRITE} > kprobe_events`,
      "echo 1 > events/kdh/rewrite/enable",
      `echo ${NOTIFIER} > set_graph_function`,
      "echo 1 > max_graph_depth",
      "echo function_graph > current_tracer",
    ].join(" && "),
  );
  const before = await onlineBlocks(guest);
  await using others = await QemuGuest.open(guest.labQmpPath);
  await using keeper = await OutsideKeeper.start(guest.qmpPath);
  const started = performance.now();
  for (let i = 0; i < count; i++) await others.plugDimm({ size, shared: { kind: "memfd" } });
  const wanted = Number((BigInt(count) * size) / BLOCK);
  let came = 0;
  while (came < wanted && performance.now() - started < ONLINE_TIMEOUT_MS) {
    await delay(2000, undefined, { signal });
    came = (await onlineBlocks(guest)) - before;
    log(`${came} of ${wanted} blocks online after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  }
  const onlineMs = performance.now() - started;
  const installs = await keeper.stop();
  const calls = callsOf(await agent.output(`cat ${TRACING}/trace`));
  const rewrites = Number(
    /kdh\/rewrite\s+(\d+)|rewrite\s+(\d+)/
      .exec(await agent.output(`cat ${TRACING}/kprobe_profile`))
      ?.slice(1)
      .find(Boolean),
  );
  await agent.finish("guest");
  const what = `${count} x ${size >> 30n} GiB, 6.12`;
  const pauses = installs.map(({ pauseMicroseconds }) => pauseMicroseconds! / 1000);
  return {
    measurements: [
      measured(`${what}: a call of the kernel's own notifier`, calls),
      ...(pauses.length > 0 ? [measured(`${what}: pause of our installs`, pauses)] : []),
    ],
    lines: [
      `${what}: ${came} of ${wanted} blocks online after ${(onlineMs / 1000).toFixed(0)} s; the kernel's notifier was called ${calls.length} times` +
        ` (${calls.reduce((sum, ms) => sum + ms, 0).toFixed(0)} ms in all) and rewrote the header ${rewrites} times; we installed ${installs.length}`,
    ],
  };
}

/**
 * By MemTotal, to which a block's pages go as it comes online: to read the states of 4,096 blocks takes the guest
 * seconds. Some of a block's pages may hold the kernel's own tables, hence the rounding.
 */
async function onlineBlocks({ agent }: LabGuest): Promise<number> {
  const found = await agent.run("grep MemTotal /proc/meminfo", 120_000);
  const [kib] = /\d+/.exec(Buffer.from(found.output).toString("latin1")) ?? [];
  return Math.round(Number(kib) / Number(BLOCK >> 10n));
}

/** Durations of the calls in a function_graph trace, milliseconds: ` 0) + 12.345 us   |  crash_memhp_notifier();` */
function callsOf(trace: string): readonly number[] {
  const lines = trace.matchAll(new RegExp(String.raw`([\d.]+) us +\| +${NOTIFIER}\b`, "g"));
  return [...lines].map(([, microseconds]) => Number(microseconds) / 1000);
}
