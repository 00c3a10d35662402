import { describe, expect, test } from "vitest";
import { RunError, runProgram } from "../../../src/lab/fetch/run.ts";

const NODE = process.execPath;
const FOREVER = "setInterval(() => {}, 1000)";

/** Whether a process with this id is there. */
function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("running a program", () => {
  test("gives its output and its exit status, in English", async () => {
    const script = "console.log(process.env.LC_ALL, process.env.MORE); console.error('e'); process.exit(3)";
    const options = { purpose: "a test", limitSeconds: 20, env: { MORE: "more" } };
    expect(await runProgram(NODE, ["-e", script], options)).toEqual({
      code: 3,
      stdout: "C more\n",
      stderr: "e\n",
    });
  });

  test("stops it at its limit, and says what was waited for", async () => {
    const options = { purpose: "the end of time", limitSeconds: 0.3 };
    const promise = runProgram(NODE, ["-e", FOREVER], options);
    await expect(promise).rejects.toThrow("Waited 0.3 s for the end of time: stopped it");
    await expect(promise).rejects.toBeInstanceOf(RunError);
  });

  test("kills it where it ignores the request to stop", async () => {
    const script = `process.on("SIGTERM", () => {}); ${FOREVER}`;
    const options = { purpose: "a stubborn one", limitSeconds: 0.5, graceSeconds: 0.2 };
    await expect(runProgram(NODE, ["-e", script], options)).rejects.toThrow("a stubborn one");
  });

  test("does not wait for a grandchild that keeps the pipes of a stopped program", async () => {
    const child = `require("child_process").spawn(process.execPath, ["-e", "setTimeout(() => {}, 3000)"], { stdio: "inherit" });`;
    const start = Date.now();
    const options = { purpose: "a family", limitSeconds: 0.5 };
    await expect(runProgram(NODE, ["-e", child + FOREVER], options)).rejects.toThrow("a family");
    expect(Date.now() - start).toBeLessThan(2500);
  });

  test("ends it when the signal aborts, before the error arrives", async () => {
    const controller = new AbortController();
    const script = `process.kill(${process.pid}, "SIGUSR2"); ${FOREVER}`;
    const started = new Promise<void>((resolve) => process.once("SIGUSR2", () => resolve()));
    const options = { purpose: "a test", limitSeconds: 20, signal: controller.signal };
    const promise = runProgram(NODE, ["-e", `process.title = "x"; ${script}`], options);
    await started;
    controller.abort(new Error("Enough"));
    await expect(promise).rejects.toThrow("Enough");
  });

  test("starts nothing where the signal has aborted already", async () => {
    const signal = AbortSignal.abort(new Error("Too late"));
    const promise = runProgram("/nonexistent", [], { purpose: "a test", limitSeconds: 1, signal });
    await expect(promise).rejects.toThrow("Too late");
  });

  test("says which program is not there", async () => {
    const promise = runProgram("/nonexistent/program", [], { purpose: "a test", limitSeconds: 1 });
    await expect(promise).rejects.toThrow("Cannot run /nonexistent/program for a test: spawn");
  });

  test("leaves no process behind", async () => {
    const { stdout } = await runProgram(NODE, ["-p", "process.pid"], { purpose: "a test", limitSeconds: 20 });
    expect(lives(Number(stdout))).toBe(false);
  });
});
