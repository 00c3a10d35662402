/** A keeper that is killed outright in the middle of an install into a real guest: it runs, and becomes whole. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auditMachine } from "../../src/keeper/audit.ts";
import { comparePages, PAGES_PER_DIMM, readVmcore } from "../../src/lab/evidence.ts";
import { fillMemory, panic, waitUntilOnline } from "../../src/lab/guest-actions.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { queryChardevs } from "../../src/targets/qemu/replies.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("killed keepers");
afterAll(() => lab?.close());

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const DIMM = 256n << 20n;
/** The first install writes header, region table, digest; later ones header, digest. */
const KILLED_IN = [1, 0, 1];
const RUNS_WITHIN_MS = 1000;

let temporary = "";
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), "kdh-killed-"));
});
afterAll(() => rm(temporary, { recursive: true, force: true }));

const load = (path: string): string => `await import(${JSON.stringify(join(DIST, path))})`;

/** A keeper of the built program that is killed by SIGKILL within its write number `write`. */
async function keepUntilKilled(
  qmpPath: string,
  journal: string,
  write: number,
): Promise<{ readonly signal: string | null; readonly stderr: string }> {
  const script = `
    const { QemuMachine } = ${load("targets/qemu/machine.js")};
    const { PauseWatcher } = ${load("targets/qemu/pause-watcher.js")};
    const { Journal } = ${load("keeper/journal/journal.js")};
    const { Keeper } = ${load("keeper/keeper.js")};
    const { nodeSha256 } = ${load("targets/sha256.js")};
    const directory = ${JSON.stringify(journal)};
    const path = ${JSON.stringify(qmpPath)};
    const journal = await Journal.open({ directory, sha256: nodeSha256, say: console.error });
    const pauseWitness = new PauseWatcher({ say: console.error, journalFile: directory + "/journal.jsonl" });
    const machine = await QemuMachine.open(path, { alone: true, pauseWitness });
    const { memory } = machine;
    const real = memory.write.bind(memory);
    let writes = 0;
    let queue = Promise.resolve();
    // One after the other, so that it is known which one was the last.
    memory.write = (address, bytes) => (queue = queue.then(async () => {
      if (writes++ !== ${write}) return await real(address, bytes);
      // Of the header nearly all: DIMMs that touch change the last PT_LOAD only, p_filesz and, behind it, p_memsz.
      await real(address, bytes.subarray(0, ${write} === 0 ? bytes.length - 16 : bytes.length >> 1));
      process.kill(process.pid, "SIGKILL");
    }));
    await new Keeper(machine, nodeSha256, {}, journal.installLog("qmp:" + path)).reconcile();
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, TMPDIR: temporary },
  });
  let stderr = "";
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    // The watcher has our stderr too: this comes when both have ended.
    child.once("close", (_code, signal) => resolve({ signal, stderr }));
  });
}

describe.skipIf(!lab).each(["shared", "private"] as const)("with %s RAM", (ram) => {
  it("runs within a second after the kill, and is whole after the next start", async () => {
    await using guest = await lab!.bootLoaded({ ram });
    await using outside = await QemuMachine.open(guest.labQmpPath);
    const stops: { readonly event: string; readonly us: number }[] = [];
    outside.guest.qmp.onEvent(({ event, timestamp }) => {
      if (event === "STOP" || event === "RESUME")
        stops.push({ event, us: timestamp.seconds * 1e6 + timestamp.microseconds });
    });
    const journal = join(temporary, `journal-${ram}`);
    const dimms: PhysicalRange[] = [];
    for (const write of KILLED_IN) {
      const { address } = await outside.guest.plugDimm({ size: DIMM });
      dimms.push({ start: address, end: address + DIMM });
      stops.length = 0;
      const { signal, stderr } = await keepUntilKilled(guest.qmpPath, journal, write);
      expect({ signal, stderr }).toMatchObject({ signal: "SIGKILL" });
      expect(stderr).toContain("the guest runs again");
      const [stop, resume] = stops;
      const pause = (resume!.us - stop!.us) / 1000;
      console.log(`${ram} RAM, killed in write ${write}: stood still for ${pause.toFixed(1)} ms`);
      expect([stop?.event, resume?.event]).toEqual(["STOP", "RESUME"]);
      expect(pause).toBeLessThan(RUNS_WITHIN_MS);
      expect(await outside.guest.status()).toBe("running");
      expect(await guest.agent.output("echo alive")).toBe("alive\n");
      expect((await queryChardevs(outside.guest.qmp)).map(({ label }) => label)).not.toContain("gdb");
      const between = await auditMachine(outside, nodeSha256);
      expect(between.verdict).not.toBe("accurate");

      const target = `qmp:${guest.qmpPath}`;
      const next = await startCli(["keep", "--once", "--journal", journal, target], undefined, {
        TMPDIR: temporary,
      }).result;
      expect(next.stderr).toContain("an install was left open by a keeper that ended within it: finished");
      expect(next.code).toBe(0);
      expect((await auditMachine(outside, nodeSha256)).verdict).toBe("accurate");
      expect((await readdir(temporary)).filter((name) => !name.startsWith("journal"))).toEqual([]);
    }
    // Purgatory says so too, and the dump has what was added.
    await waitUntilOnline(guest.agent, dimms);
    await fillMemory(guest.agent, 256);
    expect(await panic(guest)).toBe(true);
    const vmcore = await readVmcore(guest.agent);
    const { equal } = await comparePages(
      guest.agent,
      outside.memory,
      vmcore!,
      dimms[0]!,
      seededRandom(20201214),
    );
    expect(equal).toBe(PAGES_PER_DIMM);
    await guest.agent.finish("capture");
    // Three kills, three starts, a panic: on a busy machine without KVM that takes minutes.
  }, 900_000);
});
