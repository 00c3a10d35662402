/** The policies' scripts, run here by this machine's shell with a kexec that only takes its time. */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parsePolicyLog, type PolicyLog } from "../../../src/lab/policies/log.ts";
import { policyScripts } from "../../../src/lab/policies/scripts.ts";

const run = promisify(execFile);
const LOAD = { load: "kexec_file_load", acpiNoMemhotplug: true } as const;

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kdump-hotplug-test-"));
  for (const { path, mode, text } of policyScripts(LOAD)) await put(path, here(text), mode);
  await put("/run/lock/none", "");
  await put("/sys/kernel/kexec_crash_loaded", "1\n");
  await put("/bin/kexec", `#!/bin/sh\necho "kexec $*" >>${root}/calls\nsleep 0.2\n`, 0o755);
  await put("/bin/udevadm", "#!/bin/sh\n", 0o755);
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(path: string, text: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  await chmod(join(root, path), mode);
}

/** The script with the guest's paths below `root`, and with our own programs before this machine's. */
function here(text: string): string {
  return text
    .replace(/^export PATH=.*$/m, `export PATH=${root}/bin:${root}/usr/bin:$PATH`)
    .replaceAll(/(?<![\w/])\/(run|sys|usr\/lib)\//g, `${root}/$1/`);
}

async function call(path: string, ...args: readonly string[]): Promise<number> {
  try {
    await run(join(root, path), args);
    return 0;
  } catch (error) {
    return error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : -1;
  }
}

async function log(): Promise<PolicyLog> {
  return parsePolicyLog(await readFile(join(root, "run/lab/log"), "utf8"));
}

async function kexecs(): Promise<readonly string[]> {
  const text = await readFile(join(root, "calls"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (line.includes("--unload") ? "unload" : "load"));
}

/** As rules do: each event hands the command to PID 1's stand-in. Waits until all have ended. */
async function detached(count: number, ...command: readonly string[]): Promise<PolicyLog> {
  const calls = Array.from({ length: count }, () => call("/usr/bin/systemd-run", "--quiet", ...command));
  expect(new Set(await Promise.all(calls))).toEqual(new Set([0]));
  for (;;) {
    const found = await log();
    if (found.running === 0) return found;
    await delay(20);
  }
}

/** Lets the one that waits for the file `go` go on, once `count` others were throttled. */
async function goOnceThrottled(count: number): Promise<void> {
  await vi.waitUntil(async () => (await log().catch(() => undefined))?.throttled === count, {
    timeout: 25_000,
    interval: 20,
  });
  await put("/go", "");
}

describe("kdumpctl", () => {
  test("reloads once for each call, one after the other", async () => {
    const { reloads, failures } = await detached(3, join(root, "/usr/bin/kdumpctl"), "reload");
    expect(reloads).toHaveLength(3);
    expect(failures).toEqual([]);
    expect(await kexecs()).toEqual(["unload", "load", "unload", "load", "unload", "load"]);
    for (const { start, unloaded, end } of reloads) {
      expect(unloaded - start).toBeGreaterThan(100);
      expect(end - unloaded).toBeGreaterThan(100);
    }
  });
});

describe("the throttler", () => {
  test("lets one of many reload", async () => {
    // It sleeps for a second before it reloads: here until the others have come.
    const sleep = `#!/bin/sh\nwhile [ ! -e ${root}/go ]; do /bin/sleep 0.02; done\n`;
    await put("/bin/sleep", sleep, 0o755);
    const all = detached(5, join(root, "/usr/lib/udev/kdump-udev-throttler"));
    await goOnceThrottled(4);
    const { reloads, throttled } = await all;
    expect(reloads).toHaveLength(1);
    expect(throttled).toBe(4);
  });

  test("fails where there is no flock, which is not the same as being throttled", async () => {
    await put("/bin/flock", "#!/bin/sh\nexit 127\n", 0o755);
    expect(await call("/usr/lib/udev/kdump-udev-throttler")).toBe(1);
    expect(await log()).toMatchObject({ reloads: [], throttled: 0, failures: ["flock -n 127"] });
  });
});

describe("the load over the loaded image", () => {
  test("unloads nothing, has one in flight and one more for all that come meanwhile", async () => {
    // The first load takes until all six have come.
    const kexec = `#!/bin/sh\necho "kexec $*" >>${root}/calls\nwhile [ ! -e ${root}/go ]; do sleep 0.02; done\n`;
    await put("/bin/kexec", kexec, 0o755);
    const over = detached(6, join(root, "/usr/lib/kdump-hotplug/kdump-load-over"));
    await goOnceThrottled(4);
    const { reloads, throttled } = await over;
    expect(reloads).toHaveLength(2);
    expect(throttled).toBe(4);
    expect(new Set(await kexecs())).toEqual(new Set(["load"]));
  });
});

describe("kdump-config", () => {
  test("reloads where an image is loaded, and is off for good where none is", async () => {
    expect(await call("/usr/sbin/kdump-config", "try-reload")).toBe(0);
    expect(await log()).toMatchObject({ reloads: [expect.anything()], skipped: 0 });
    await put("/sys/kernel/kexec_crash_loaded", "0\n");
    expect(await call("/usr/sbin/kdump-config", "try-reload")).toBe(0);
    expect(await log()).toMatchObject({ reloads: [expect.anything()], skipped: 1 });
  });
});

test("a load that fails is written down with its status, and so is what called it", async () => {
  await put("/bin/kexec", '#!/bin/sh\ncase "$*" in *--unload*) ;; *) exit 255 ;; esac\n', 0o755);
  const { failures } = await detached(1, join(root, "/usr/bin/kdumpctl"), "reload");
  expect(failures).toEqual(["a load ended with status 255", "a detached command ended with status 255"]);
});

test("systemctl says that kdump is active, and knows nothing else", async () => {
  expect(await call("/usr/bin/systemctl", "is-active", "kdump.service")).toBe(0);
  expect(await call("/usr/bin/systemctl", "restart", "kdump.service")).toBe(1);
  expect((await log()).failures).toEqual(["systemctl restart kdump.service"]);
});
