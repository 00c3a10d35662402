/** A program that listens to uevents: it ends when it is to end, and sleeps where nothing happens. The built files. */
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { noEvents } from "../targets/local/this-kernel.ts";

const DIST = new URL("../../dist/targets/local/", import.meta.url);

/** Runs `script` once netlink listens; `watch` is there, and `changes` counts. */
function listening(script: string): { readonly status: number | null; readonly out: string } {
  const program = `
    import { readFileSync, writeFileSync } from "node:fs";
    import { watchUevents } from "${new URL("watch-uevents.js", DIST).href}";
    let changes = 0;
    const listens = new Promise((resolve) => {
      globalThis.watch = watchUevents({ onChange: () => { changes++; resolve(); }, onTrouble: (t) => console.log(t) });
    });
    await listens;
    ${script}`;
  // A program that hangs is killed, and has no status.
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program], {
    encoding: "utf8",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return { status, out: `${stdout}${stderr}` };
}

const reason = await noEvents();

describe.skipIf(reason)(`a program that listens${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test.each([
    ["calls process.exit", "process.exit(7);", 7],
    ["throws", 'setTimeout(() => { throw new Error("x"); }, 1);', 1],
    ["ends its watch", "watch[Symbol.dispose]();", 0],
  ])("ends at once where it %s", (_, script, status) => {
    expect(listening(script)).toMatchObject({ status });
  });

  test("goes on for as long as it listens", () => {
    const { status, out } = listening(`
      setTimeout(() => {
        writeFileSync("/sys/devices/system/memory/memory0/uevent", "change");
        setTimeout(() => { console.log("changes", changes); process.exit(0); }, 500).unref();
      }, 100).unref();`);
    expect(status).toBe(0);
    expect(Number(/changes (\d+)/.exec(out)?.[1])).toBeGreaterThanOrEqual(2);
  });

  test("does not wake up where nothing happens, and takes less than 80 MiB", () => {
    // Of the thread of the event loop; others may make events meanwhile, and three seconds are a short time.
    const { status, out } = listening(`
      const field = (name) => Number(new RegExp(name + ":\\\\s+(\\\\d+)").exec(readFileSync("/proc/self/status", "utf8"))[1]);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const before = field("voluntary_ctxt_switches");
      const heard = watch.counters.events;
      await new Promise((resolve) => setTimeout(resolve, 3000));
      console.log("wakeups", field("voluntary_ctxt_switches") - before - (watch.counters.events - heard), "rss", field("VmRSS"));
      process.exit(0);`);
    expect(status).toBe(0);
    // One is the timer of the measurement itself.
    expect(Number(/wakeups (-?\d+)/.exec(out)?.[1])).toBeLessThanOrEqual(3);
    expect(Number(/rss (\d+)/.exec(out)?.[1])).toBeLessThan(80 * 1024);
    expect(out).not.toContain("Cannot");
  });
});
