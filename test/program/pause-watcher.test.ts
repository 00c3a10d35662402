/** The keeper is killed outright while a guest stands still for it: the real program, in front of a pretended QEMU. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Entry } from "../../src/keeper/journal/entry.ts";
import { parseEntry } from "../../src/keeper/journal/parse.ts";
import { startBytesQemu, type BytesQemu } from "../targets/qemu/bytes-qemu.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MAIN = join(ROOT, "dist/cli/main.js");
const RUNS_WITHIN_MS = 1000;

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-watcher-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts a program of ours; `ended` comes when all who have its stderr are gone, the watcher too. */
function start(args: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], cwd: ROOT });
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr?.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { child, ended };
}

const keepOnce = (qemu: BytesQemu): readonly string[] => [
  MAIN,
  "keep",
  "--once",
  "--journal",
  directory,
  `qmp:${qemu.path}`,
];

function journal(): readonly Entry[] {
  return readFileSync(join(directory, "journal.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map(parseEntry)
    .flatMap((entry) => ("unreadable" in entry ? [] : [entry]));
}

/**
 * Waits until the watcher ignores SIGHUP, the first bit, which it does last and Node does not by itself: the second within
 * which a guest is to run again is not to have the start of a Node on a busy machine in it, and until then signals end it.
 */
const WATCHER_HAS_BEGUN = `
    const { readFileSync } = await import("node:fs");
    while (!/^SigCgt:.*[13579bdf]$/m.test(readFileSync("/proc/" + pauseWitness.pid + "/status", "utf8")))
      await new Promise((resolve) => setTimeout(resolve, 10));
`;

/** A process that pauses a guest and is then told what to do by `body`. */
function pausing(qemu: BytesQemu, body: string): readonly string[] {
  const script = `
    const { QemuMachine } = await import(${JSON.stringify(join(ROOT, "dist/targets/qemu/machine.js"))});
    const { PauseWatcher } = await import(${JSON.stringify(join(ROOT, "dist/targets/qemu/pause-watcher.js"))});
    const pauseWitness = new PauseWatcher({ say: (line) => console.error(line) });
    const machine = await QemuMachine.open(${JSON.stringify(qemu.path)}, { alone: true, pauseWitness });
    ${WATCHER_HAS_BEGUN}
    ${body}
    await machine[Symbol.asyncDispose]();
  `;
  return ["--input-type=module", "-e", script];
}

const KILL = 'process.kill(process.pid, "SIGKILL"); await new Promise(() => {});';

describe("killed within a pause", () => {
  test("the guest runs again within a second, and so it is told", async () => {
    await using qemu = await startBytesQemu("6.1");
    const { ended } = start(pausing(qemu, `await machine.paused(async () => { ${KILL} });`));
    const { signal, stderr } = await ended;
    expect(signal).toBe("SIGKILL");
    expect(qemu.status).toBe("running");
    const [stopped, resumed, ...more] = qemu.changes;
    expect(more).toEqual([]);
    expect(resumed!.at - stopped!.at).toBeLessThan(RUNS_WITHIN_MS);
    expect(stderr).toMatch(/^Process \d+ ended while qmp:\S+ stood still for it; the guest runs again\n$/);
    // The stub that it had opened is closed too, with its directory.
    expect(qemu.stub).toBeUndefined();
  });

  test("a guest that an operator had paused before stays paused", async () => {
    await using qemu = await startBytesQemu("6.1");
    qemu.status = "paused";
    const { ended } = start(pausing(qemu, `await machine.paused(async () => { ${KILL} });`));
    expect(await ended).toMatchObject({ signal: "SIGKILL", stderr: "" });
    expect(qemu.status).toBe("paused");
    expect(qemu.log).not.toContain("cont");
  });

  test("a guest in another state than paused is left in it", async () => {
    await using qemu = await startBytesQemu("6.1");
    const { child, ended } = start(
      pausing(
        qemu,
        `await machine.paused(async () => { console.log("here"); await new Promise(() => setInterval(() => {}, 1000)); });`,
      ),
    );
    await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
    qemu.status = "guest-panicked";
    child.kill("SIGKILL");
    await ended;
    expect(qemu.status).toBe("guest-panicked");
    expect(qemu.log).not.toContain("cont");
  });

  test("signals to its whole group do not take the watcher with it", async () => {
    await using qemu = await startBytesQemu("6.1");
    const { ended } = start(
      pausing(
        qemu,
        `await machine.paused(async () => {
           for (const name of ["SIGTERM", "SIGINT", "SIGHUP"]) process.kill(pauseWitness.pid, name);
           ${KILL}
         });`,
      ),
    );
    expect(await ended).toMatchObject({ signal: "SIGKILL" });
    expect(qemu.status).toBe("running");
  });
});

test("after a pause that was ended the watcher does nothing, whatever an operator does then", async () => {
  await using qemu = await startBytesQemu("6.1");
  const { child, ended } = start(
    pausing(
      qemu,
      `await machine.paused(async () => {}); console.log("here"); await new Promise(() => setInterval(() => {}, 1000));`,
    ),
  );
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
  qemu.status = "paused";
  child.kill("SIGKILL");
  expect(await ended).toMatchObject({ stderr: "" });
  expect(qemu.status).toBe("paused");
});

test("a connection that ends within a pause is no reason to stand still", async () => {
  await using qemu = await startBytesQemu("6.1");
  const { ended } = start(
    pausing(
      qemu,
      `await machine.paused(async () => { await machine.guest.qmp.close(); }).catch((error) => console.error(error.message)); await new Promise((resolve) => setTimeout(resolve, 500));`,
    ),
  );
  expect((await ended).stderr).toContain("lost its connection while");
  expect(qemu.status).toBe("running");
});

test("a keeper that is told and killed in the same breath has told it", async () => {
  await using qemu = await startBytesQemu("6.1");
  qemu.status = "paused";
  const watcher = JSON.stringify(join(ROOT, "dist/targets/qemu/pause-watcher.js"));
  const { ended } = start([
    "--input-type=module",
    "-e",
    `const { PauseWatcher } = await import(${watcher});
     const watcher = new PauseWatcher({ say: console.error });
     watcher.ready();
     watcher.pausing({ target: "qmp:guest", qmp: ${JSON.stringify(qemu.path)} });
     process.kill(process.pid, "SIGKILL");`,
  ]);
  await ended;
  expect(qemu.status).toBe("running");
});

/** Writes of one install that nobody disturbs. */
async function countWrites(): Promise<number> {
  await using qemu = await startBytesQemu("6.1,dimm=128M");
  let count = 0;
  qemu.onWrite = (number) => {
    count = number + 1;
    return undefined;
  };
  expect(await start(keepOnce(qemu)).ended).toMatchObject({ code: 0, stderr: "" });
  return count;
}

describe("keep, killed at each write of an install", () => {
  test("the guest runs within a second, and the next start makes it whole", async () => {
    const total = await countWrites();
    expect(total).toBeGreaterThan(1);
    for (let write = 0; write < total; write++) {
      await rm(directory, { recursive: true, force: true });
      await using qemu = await startBytesQemu("6.1,dimm=128M");
      const first = start(keepOnce(qemu));
      let killedAt = 0;
      qemu.onWrite = (number, length) => {
        if (number < write) return undefined;
        if (killedAt === 0) {
          killedAt = performance.now();
          first.child.kill("SIGKILL");
          return Math.floor(length / 2);
        }
        // What was sent and not read yet is lost with the keeper.
        return 0;
      };
      const killed = await first.ended;
      expect(killed.signal).toBe("SIGKILL");
      expect(qemu.status).toBe("running");
      expect(qemu.changes.at(-1)!.at - killedAt).toBeLessThan(RUNS_WITHIN_MS);
      expect(qemu.machine.judge().outcome).toBe("no dump");
      qemu.onWrite = () => undefined;
      const second = await start(keepOnce(qemu)).ended;
      expect(second.stderr).toMatch(/an install was left open by a keeper that ended within it: finished/);
      expect(second.code).toBe(0);
      expect(qemu.status).toBe("running");
      expect(qemu.machine.judge()).toMatchObject({ outcome: "complete" });
      expect(journal().map(({ entry }) => entry)).toEqual([
        "started",
        "intent",
        "resumed",
        "started",
        "outcome",
        "verdict",
        "stopped",
      ]);
    }
  }, 240_000);

  test("with the watcher killed too, the next start lets the guest run", async () => {
    await using qemu = await startBytesQemu("6.1,dimm=128M");
    const first = start(keepOnce(qemu));
    qemu.onWrite = () => {
      const { pid } = first.child;
      // None where it is called once more for one that has been killed: 0 would be all of our own group.
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").match(/\d+/g) ?? [];
      for (const child of children) process.kill(Number(child), "SIGKILL");
      first.child.kill("SIGKILL");
      return 1;
    };
    await first.ended;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(qemu.status).toBe("paused");
    qemu.onWrite = () => undefined;
    const second = await start(keepOnce(qemu)).ended;
    expect(second).toMatchObject({ code: 0 });
    expect(second.stderr).toContain("the guest stood still for it, and runs again");
    expect(qemu.status).toBe("running");
    expect(qemu.machine.judge()).toMatchObject({ outcome: "complete" });
    expect(journal().some(({ entry }) => entry === "resumed")).toBe(true);
  }, 120_000);
});
