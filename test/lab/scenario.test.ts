import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LostGuestError } from "../../src/lab/errors.ts";
import { AcceleratorChoice } from "../../src/lab/guest.ts";
import { ownMark } from "../../src/targets/process-mark.ts";
import { bootPatiently } from "../../src/lab/scenario.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "scenario-test-"));
});
afterAll(async () => {
  await rm(directory, { recursive: true });
});

/** A program in QEMU's place that notes each start and ends like a QEMU that cannot run the guest. */
async function failingQemu(
  name: string,
): Promise<{ readonly path: string; starts(): Promise<readonly string[]> }> {
  const path = join(directory, name);
  const log = `${path}.log`;
  await writeFile(path, `#!/bin/sh\necho "$*" >> '${log}'\necho 'the guest crashed at boot' >&2\nexit 1\n`);
  await chmod(path, 0o755);
  return { path, starts: async () => (await readFile(log, "utf8")).trim().split("\n") };
}

const WANTED = { ramMiB: 256, crashkernelMiB: 64, ram: "shared" } as const;

async function boot(qemu: string, accelerator: AcceleratorChoice, log: string[]): Promise<unknown> {
  const parts = { qemu, vmlinuz: "vmlinuz", initramfs: "initramfs", accelerator };
  try {
    return await bootPatiently(parts, WANTED, { log: (line) => log.push(line) });
  } catch (error) {
    return error;
  }
}

describe("booting a guest", () => {
  test("starts one that dies before the scenario again, at most twice, and says so", async () => {
    const qemu = await failingQemu("dies");
    const log: string[] = [];
    const error = await boot(qemu.path, new AcceleratorChoice("tcg"), log);
    expect(error).toBeInstanceOf(LostGuestError);
    expect(String(error)).toContain("the guest crashed at boot");
    expect(await qemu.starts()).toHaveLength(3);
    expect(log.map((line) => /Starting it again \(\d of \d\)/.exec(line)?.[0])).toEqual([
      "Starting it again (1 of 2)",
      "Starting it again (2 of 2)",
    ]);
  });

  test("gives KVM up for the rest of the run where a guest is lost on it", async () => {
    const qemu = await failingQemu("no-kvm");
    const accelerator = new AcceleratorChoice("kvm");
    const log: string[] = [];
    await boot(qemu.path, accelerator, log);
    const accelerators = (await qemu.starts()).map((line) => /accel=(\w+)/.exec(line)?.[1]);
    expect(accelerators).toEqual(["kvm", "tcg", "tcg", "tcg"]);
    expect(log[0]).toContain("going on with TCG");
    expect(accelerator.current).toBe("tcg");
  });

  test("leaves no directory behind", async () => {
    const qemu = await failingQemu("leaves-nothing");
    await boot(qemu.path, new AcceleratorChoice("tcg"), []);
    const ours = (await readdir(tmpdir())).filter((name) =>
      name.startsWith(`kdump-hotplug-lab-${ownMark()}-`),
    );
    expect(ours).toEqual([]);
  });
});
