/** `lab run`, interrupted or killed at any moment: no QEMU and no directory is left. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CliRun, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("interrupted lab runs");
afterAll(() => lab?.close());

/** Two of them run side by side here, a whole one takes about 20 s alone. */
const LIMIT_MS = 90_000;

async function until(what: string, limitMs: number, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await delay(50);
  }
}

describe.skipIf(!lab)("lab run", () => {
  /** The lab's directories are made in here, so that those of other runs are not mistaken for them. */
  let directory = "";

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdh-run-"));
  });
  afterEach(async () => {
    for (const pid of await processes()) process.kill(pid, "SIGKILL");
    await rm(directory, { recursive: true, force: true });
  });

  function startRun(): CliRun {
    return startCli(["lab", "run", "--dimm", "128M"], LIMIT_MS, { TMPDIR: directory });
  }

  /** Processes of QEMU (or what becomes QEMU) whose command line names a directory of this test. */
  async function processes(): Promise<readonly number[]> {
    const found: number[] = [];
    for (const name of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
      const line = await readFile(`/proc/${name}/cmdline`, "latin1").catch(() => "");
      if (line.includes(directory)) found.push(Number(name));
    }
    return found;
  }

  // Supplies and initramfs, QEMU's start, boot, load, plug, fill, panic, evidence, the second guest.
  it.each([
    [300, 16_000],
    [700, 13_000],
    [1500, 10_000],
    [2500, 7000],
    [4000, 5500],
  ])(
    "interrupted after %i ms and, at the same time, another after %i ms, leaves nothing",
    async (...moments) => {
      const runs = moments.map(async (ms) => {
        const run = startRun();
        const over = await Promise.race([delay(ms, false), run.result.then(() => true)]);
        // Before Node has read the program, SIGINT ends Node: nothing was begun then.
        const sent = performance.now();
        run.child.kill("SIGINT");
        const { code, signal, stderr } = await run.result;
        expect.soft(performance.now() - sent, `${ms} ms`).toBeLessThan(5000);
        // On a fast machine the run may be over by then.
        const wanted = over ? [0] : [130, "SIGINT"];
        expect.soft(wanted, `${ms} ms: ${stderr}`).toContain(signal ?? code);
        expect.soft(stderr).not.toMatch(/^\s+at /m);
      });
      await Promise.all(runs);
      expect(await processes()).toEqual([]);
      expect(await readdir(directory)).toEqual([]);
    },
  );

  it("killed outright takes QEMU with it, and the next run removes its directories", async () => {
    const first = startRun();
    const labs = async (): Promise<readonly string[]> =>
      (await readdir(directory)).filter((name) => name.startsWith(`kdump-hotplug-lab-${first.pid}.`));
    await until("the first run's QEMU is there", 30_000, async () => (await processes()).length > 0);
    await delay(1000);
    first.child.kill("SIGKILL");
    expect((await first.result).signal).toBe("SIGKILL");
    await until("its QEMU is gone", 2000, async () => (await processes()).length === 0);
    expect(await labs()).toHaveLength(2);

    const second = startRun();
    await until("its directories are gone", 30_000, async () => (await labs()).length === 0);
    second.child.kill("SIGINT");
    expect((await second.result).code).toBe(130);
    expect(await processes()).toEqual([]);
    expect(await readdir(directory)).toEqual([]);
  });
});
