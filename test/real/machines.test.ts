/** QEMU machines of other kinds than the lab's. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { cli, cliJson } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("machines of other kinds");
afterAll(() => lab?.close());

/** Without PIT and HPET the kernel cannot measure its clocks, and waits for good: on microvm it is told them. */
const CLOCKS = "tsc_early_khz=1000000 lpj=4000000 no_timer_check clocksource=jiffies";

/** Starts a bare QEMU with Debian's kernel, and waits until that has found its crash memory. */
async function start(
  directory: string,
  args: readonly string[],
): Promise<{ readonly child: ChildProcess; readonly target: string }> {
  const path = join(directory, "qmp.sock");
  const { qemu, vmlinuz, initramfs } = lab!.parts;
  const common = ["-nographic", "-nodefaults", "-m", "1G", "-smp", "2", "-cpu", "max"];
  const kernel = ["-kernel", vmlinuz, "-initrd", initramfs, "-append", `crashkernel=128M ${CLOCKS}`];
  const qmp = ["-qmp", `unix:${path},server=on,wait=off`];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", qemu, ...common, ...kernel, ...qmp, ...args], {
    stdio: "ignore",
  });
  while (!existsSync(path)) await delay(50);
  return { child, target: `qmp:${path}` };
}

describe.skipIf(!lab).each([
  ["microvm", "microvm,acpi=on,rtc=on"],
  ["pc", "pc"],
])("a machine of type %s", (_name, type) => {
  it("is audited, kept and inspected, though it takes no CPUs or memory", async () => {
    const directory = await mkdtemp(join(tmpdir(), "kdh-machine-"));
    const { child, target } = await start(directory, ["-machine", `${type},accel=tcg`]);
    try {
      // RAM is read through QEMU here, and each look holds the guest up: it is left time to boot.
      await delay(25_000);
      await expect
        .poll(async () => (await cli("audit", target)).stdout, {
          timeout: 120_000,
          interval: 5_000,
        })
        .toMatch(/no capture kernel is loaded/);
      for (const command of [["audit"], ["keep", "--once"], ["inspect"]]) {
        const { code, json, stderr } = await cliJson(...command, target);
        expect.soft({ code, stderr }, command[0]).toEqual({ code: 3, stderr: "" });
        expect.soft(json["reason"]).toMatch(/no capture kernel is loaded/);
      }
    } finally {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
      await rm(directory, { recursive: true, force: true });
    }
  });
});
