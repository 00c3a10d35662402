/** A real systemd-udevd in a guest brings added memory online by our own rules, in each of the versions that we know. */
import { afterAll, describe, expect, test } from "vitest";
import { KERNEL_SERIES, KERNEL_SUITES, type KernelSeries } from "../../src/lab/fetch/kernel.ts";
import { onlineMemory, waitUntilOnline, writeGuestFiles } from "../../src/lab/guest-actions.ts";
import { startUdev } from "../../src/lab/udev.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { ONLINE } from "../../src/rules/policies/onlining.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { type Lab, openLab } from "./lab.ts";

const SYSTEMD = { bullseye: "247", bookworm: "252", trixie: "257" } as const;
const STATES = "cat /sys/devices/system/memory/memory*/state | sort | uniq -c";

const labs = new Map<KernelSeries, Lab>();
for (const series of KERNEL_SERIES) {
  const lab = await openLab(`udevd on Linux ${series}`, series, { udev: KERNEL_SUITES[series] });
  if (lab) labs.set(series, lab);
}
afterAll(async () => {
  for (const lab of labs.values()) await lab.close();
});

describe.each(KERNEL_SERIES)("Linux %s with its own release's udev", (series) => {
  test.skipIf(!labs.has(series))("brings a DIMM's blocks online", async () => {
    await using guest = await labs.get(series)!.boot({ addedMemory: "offline" });
    const { agent } = guest;
    await using qemu = await QemuGuest.open(guest.labQmpPath);

    await startUdev(agent, { rules: [], scripts: [] });
    expect(await agent.output("udevadm --version")).toContain(SYSTEMD[KERNEL_SUITES[series]]);
    await agent.output("flock /run/lock/test true");
    const { address, size } = await qemu.plugDimm({ size: 256n << 20n });
    const dimm = { start: address, end: address + size };
    const blocks = [0n, 1n].map((i) => `-e /sys/devices/system/memory/memory${address / (128n << 20n) + i}`);
    await agent.output(
      `i=0; until [ ${blocks.join(" -a ")} ] || [ $i = 100 ]; do sleep 0.2; i=$((i + 1)); done; sleep 1; udevadm settle --timeout=10`,
    );
    expect(await agent.output(STATES)).toMatch(/ 2 offline/);

    // Without a rule nobody did; now there is one, and udevd is told of the events again.
    await writeGuestFiles(agent, [
      { path: `/run/udev/rules.d/${ONLINE.fileName}`, mode: 0o644, text: ONLINE.text },
    ]);
    // More than once: on a busy machine udevd may get to the events before it gets to read its rules again.
    await agent.output(
      `udevadm control --reload; for i in 1 2 3 4 5; do udevadm trigger --action=add --subsystem-match=memory; udevadm settle --timeout=10; ${STATES} | grep -q offline || break; done`,
    );
    await waitUntilOnline(agent, [dimm]);
    expect((await onlineMemory(agent)).intersect(RangeSet.of([dimm])).bytes).toBe(256n << 20n);

    // And by the kernel's own event.
    const second = await qemu.plugDimm({ size: 256n << 20n });
    await waitUntilOnline(agent, [{ start: second.address, end: second.address + second.size }]);
    expect(await agent.output(STATES)).not.toContain("offline");
    await agent.finish("guest");
  });
});
