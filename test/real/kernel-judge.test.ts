/**
 * Linux 6.12 as the judge of our header: with kexec_file_load it rewrites its own after every block that comes online,
 * and ours, computed from outside and never written, must be the same bytes.
 *
 * Layouts are reached by DIMMs only. CPUs cannot be added to this kernel under TCG ("0 hotplug CPUs"), and would change
 * nothing: it lists every possible CPU from the start, which is checked here too.
 */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { cpuNotes } from "../../src/elfcore/kinds.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import { waitUntilOnline } from "../../src/lab/guest-actions.ts";
import { parseMemoryDevices } from "../../src/layout/qmp.ts";
import { parseCpuList } from "../../src/layout/sysfs.ts";
import { plugDimm } from "../../src/targets/qemu/plug.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { expectEqualHeaders } from "../judge/expect.ts";
import { judge, type JudgedMachine, type Judgement } from "../judge/judge.ts";
import { COURSES } from "../judge/layouts.ts";
import { openLab } from "./lab.ts";
import type { LabGuest } from "../../src/lab/guest.ts";

const lab = await openLab("the kernel's own headers as the judge of ours", "6.12");
afterAll(() => lab?.close());

const MIB = 1n << 20n;
/** The guest offlines block by block; under TCG a DIMM of 128 MiB takes 0.2 to 1 s. */
const REMOVAL_MS = 60_000;

/** A real guest as the judge's machine. `headerAddress` is of the image that it has loaded. */
function judged(guest: LabGuest, machine: QemuMachine, header: HeaderPlace): JudgedMachine {
  const { qmp } = machine.guest;
  return {
    add: async (mib, atMiB) => {
      const address = atMiB === undefined ? undefined : header.hotBase + BigInt(atMiB) * MIB;
      const dimm = await plugDimm(qmp, { size: BigInt(mib) * MIB, address });
      const range = { start: dimm.address, end: dimm.address + dimm.size };
      // A block says that it is online after the kernel's handler has run (memory_block_online, drivers/base/memory.c).
      await waitUntilOnline(guest.agent, [range]);
      return { id: dimm.id, range };
    },
    remove: async (id) => {
      await qmp.execute("device_del", { id });
      const deadline = performance.now() + REMOVAL_MS;
      for (;;) {
        const left = parseMemoryDevices(await machine.guest.memoryDevices());
        if (!left.some((device) => device.id === id)) return;
        if (performance.now() > deadline)
          throw new Error(`The guest did not give up ${id} within ${REMOVAL_MS / 1000} s`);
        await delay(50);
      }
    },
    layout: async () => machine.layout(),
    headerSegment: async () => machine.memory.read(header.address, header.capacity),
  };
}

interface HeaderPlace {
  readonly address: bigint;
  readonly capacity: number;
  /** Where hot-added memory begins: the first GiB behind boot RAM and 4 GiB (pc_get_device_memory_range, QEMU). */
  readonly hotBase: bigint;
}

function table(judgements: readonly Judgement[]): string {
  return judgements
    .map(({ step, kernelHeaders, touching, equal, equalButForTheNamed, stale }) => {
      const ours = equal.fromLoad ? "equal" : equalButForTheNamed.fromLoad ? "equal but for" : "DIFFERENT";
      const named = [touching ? "merged" : "", stale.isEmpty ? "" : "removed"].filter((name) => name !== "");
      const why = equal.fromLoad ? "" : ` ${named.join(" and ")}`;
      return `  ${JSON.stringify(step).padEnd(26)} ${kernelHeaders} program headers, ours ${ours}${why}`;
    })
    .join("\n");
}

describe.skipIf(!lab)("Linux 6.12, kexec_file_load", () => {
  const layouts: Judgement[] = [];

  test.each(COURSES)("writes what we compute: $name", async (course) => {
    await using guest = await lab!.bootLoaded({ ramMiB: course.ramMiB });
    await using machine = await QemuMachine.open(guest.labQmpPath);
    const { image, layout } = await auditMachine(machine, nodeSha256);
    // The kernel's own handler needs the digest to leave the header out, and it is what is judged here.
    expect(image?.digest.state).toBe("excludes-header");
    const possible = parseCpuList(await guest.agent.output("cat /sys/devices/system/cpu/possible"));
    expect(cpuNotes(image!.header)).toHaveLength(possible.length);
    // Kept out of the kernel's own use, so that it can be removed again.
    await guest.agent.output("echo online_movable > /sys/devices/system/memory/auto_online_blocks");
    const top = [...layout.backed.ranges.map(({ end }) => end), 4n << 30n].reduce((a, b) => (a > b ? a : b));
    const place: HeaderPlace = {
      address: image!.headerAddress,
      capacity: image!.headerCapacity,
      hotBase: (top + (1n << 30n) - 1n) & ~((1n << 30n) - 1n),
    };
    const judgements = await judge(judged(guest, machine, place), course.steps);
    console.log(`${guest.release}, ${course.name}\n${table(judgements)}`);
    layouts.push(...judgements);
    expect(judgements).toHaveLength(course.steps.length);
    expectEqualHeaders(course, judgements);
  });

  test("was judged by at least 20 layouts whose bytes are the same as they are, and by others with each named difference", () => {
    const added = layouts.filter(({ step }) => "add" in step);
    expect(added.filter(({ equal }) => equal.fromLoad && equal.fromBefore).length).toBeGreaterThanOrEqual(20);
    expect(added.filter(({ touching }) => touching).length).toBeGreaterThanOrEqual(10);
    expect(layouts.filter(({ step }) => "remove" in step)).toHaveLength(2);
  });
});
