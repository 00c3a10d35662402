/**
 * `lab run`, interrupted or killed at any moment: no QEMU and no directory is left. (What lies between the guest's boot
 * and its panic, and other commands of the lab, are interrupted by documented-lab.test.ts.)
 */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { openLab } from "./lab.ts";
import { interrupted, LabRuns, NOTHING, until } from "./lab-runs.ts";

const lab = await openLab("interrupted lab runs");
afterAll(() => lab?.close());

/** Two of them run side by side here, a whole one takes about 20 s alone. */
const LIMIT_MS = 90_000;
const RUN = ["lab", "run", "--dimm", "128M"];

describe.skipIf(!lab)("lab run", () => {
  // Supplies and initramfs, QEMU's start, boot; fill, panic, evidence, the second guest.
  it.each([
    [300, 16_000],
    [700, 10_000],
    [1500, 2500],
  ])(
    "interrupted after %i ms and, at the same time, another after %i ms, leaves nothing",
    async (...moments) => {
      await using runs = await LabRuns.make();
      await Promise.all(
        moments.map(async (ms) => {
          const run = runs.start(RUN, LIMIT_MS);
          const over = await Promise.race([delay(ms, false), run.result.then(() => true)]);
          const { code, signal, stdout, stderr, endedAfterMs } = await interrupted(run);
          expect.soft(endedAfterMs, `${ms} ms`).toBeLessThan(5000);
          // On a fast machine the run may be over by then. Before Node has read the program, SIGINT ends Node: nothing
          // was begun then.
          const told = over || stdout !== "";
          const wanted = over ? [0] : [130, "SIGINT", ...(told ? [0] : [])];
          expect.soft(wanted, `${ms} ms: ${stderr}`).toContain(signal ?? code);
          expect.soft(stderr).not.toMatch(/^\s+at /m);
        }),
      );
      expect(await runs.left()).toEqual(NOTHING);
    },
  );

  it("killed outright takes QEMU with it, and the next run removes its directories", async () => {
    await using runs = await LabRuns.make();
    const first = runs.start(RUN, LIMIT_MS);
    await until("the first run's QEMU is there", 30_000, async () => (await runs.processes()).length > 0);
    await delay(1000);
    first.child.kill("SIGKILL");
    expect((await first.result).signal).toBe("SIGKILL");
    await until("its QEMU is gone", 20_000, async () => (await runs.processes()).length === 0);
    expect(await runs.directoriesOf(first)).toHaveLength(2);

    const second = runs.start(RUN, LIMIT_MS);
    await until(
      "its directories are gone",
      30_000,
      async () => (await runs.directoriesOf(first)).length === 0,
    );
    second.child.kill("SIGINT");
    expect((await second.result).code).toBe(130);
    expect(await runs.left()).toEqual(NOTHING);
  });
});
