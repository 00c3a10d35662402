import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { DEBIAN } from "../../src/rules/policies/debian.ts";
import { RHEL_GUARDED } from "../../src/rules/policies/rhel.ts";

let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-command-"));
  await writeFile(join(directory, "50-kdump-tools.rules"), DEBIAN.text);
  await writeFile(join(directory, "guarded.conf"), RHEL_GUARDED.text);
  await writeFile(join(directory, "binary"), "a\0");
  await writeFile(join(directory, "cat.conf"), 'PROGRAM="/bin/cat x", RESULT=="7", RUN+="kdumpctl reload"\n');
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function rules(...args: readonly string[]): Promise<Ran> {
  let out = "";
  let err = "";
  const context = {
    print: (text: string) => void (out += text),
    say: (line: string) => void (err += `${line}\n`),
    signal: new AbortController().signal,
  };
  const code = await run(["rules", ...args], context, "0");
  return { code, out, err };
}

describe("rules explain", () => {
  test("says which lines matched, why the others did not, what is done, and what it does to kdump", async () => {
    const { code, out } = await rules("explain", "--event", "online:memory40", "--rules-dir", directory);
    expect(code).toBe(0);
    expect(out).toContain('not matched: SUBSYSTEM=="cpu", found "memory"');
    expect(out).toContain(
      "PROGRAM /usr/sbin/kdump-config try-reload: exit status 0 (assumed, it was not run)",
    );
    expect(out).toContain("Reloads kdump, once for each such event");
    expect(out).toContain("waits for it while it evaluates the rules");
  });

  test("says so when it is left to the kernel", async () => {
    const file = join(directory, "guarded.conf");
    const { out } = await rules("explain", "--event", "add:cpu3", "--kernel-crash-hotplug", "1", file);
    expect(out).toContain('matched, goes on at LABEL="kdump_reload_end"');
    expect(out).toContain("the kernel says that it updates the core header itself");
  });

  test("prints JSON with every line's outcome", async () => {
    const file = join(directory, "guarded.conf");
    const { out } = await rules(
      "explain",
      "--json",
      "--systemd",
      "239",
      "--event",
      "add@/devices/system/cpu/cpu3",
      file,
    );
    expect(JSON.parse(out)).toMatchObject({
      schemaVersion: 1,
      event: { action: "add", devpath: "/devices/system/cpu/cpu3", subsystem: "cpu" },
      systemd: 239,
      crashHotplug: "absent",
      lines: [
        { line: 2, result: "not-matched", token: 'ATTRS{crash_hotplug}=="1"', found: null },
        { line: 3, result: "not-matched", token: 'SUBSYSTEM=="memory"', found: "cpu" },
        { line: 4, result: "matched", goto: "kdump_reload" },
        { line: 5, result: "jumped-over", by: 4 },
        { line: 6, result: "jumped-over", by: 4 },
        { line: 8, result: "label" },
        { line: 9, result: "matched" },
        { line: 11, result: "label" },
      ],
      run: [{ kind: "program", line: 9 }],
      kdump: { kind: "throttled-reload", blocksWorker: "no" },
    });
  });

  test("takes what programs do, and variables of the uevent", async () => {
    const file = join(directory, "cat.conf");
    const event = ["--event", "add@/devices/x", "--env", "SUBSYSTEM=acpi"] as const;
    expect((await rules("explain", ...event, "--assume", "cat=0:7", file)).out).toContain(
      "RUN kdumpctl reload",
    );
    expect((await rules("explain", ...event, "--assume", "/bin/cat x=0:8", file)).out).toContain('found "8"');
    expect((await rules("explain", ...event, "--unknown-programs", "fail", file)).out).toContain(
      "exit status 1 (assumed)",
    );
  });

  test.each([
    [
      "an event that is none",
      ["explain", "--event", "plug:memory40", "guarded.conf"],
      "Cannot read the event",
    ],
    [
      "a version that is not known",
      ["explain", "--event", "add:cpu3", "--systemd", "300"],
      "no version known here",
    ],
    ["a file that is no text", ["check", "binary"], "binary:1 has a zero byte"],
    ["a file that is not there", ["check", "none"], "does not exist"],
    ["two ways to name rules", ["check", "--root", "/", "guarded.conf"], "only one of them"],
    ["an assumption that is none", ["explain", "--event", "add:cpu3", "--assume", "x"], "COMMAND=EXIT"],
  ])("exits with 2 for %s", async (_what, args, message) => {
    const { code, err } = await rules(
      ...args.map((arg) => (/^(?:binary|none|guarded\.conf)$/.test(arg) ? join(directory, arg) : arg)),
    );
    expect(err).toContain(message);
    expect(code).toBe(2);
  });

  test.each([
    ["a key that is none", 'FOO=="x"', "1 Invalid key 'FOO'"],
    ["a line of more than 16,384 bytes", `RUN+="${"x".repeat(17_000)}"`, "1 Line has 17007 bytes"],
    ["a GOTO that leads backwards", 'LABEL="x"\nGOTO="x"', '2 GOTO="x" has no matching label behind it'],
  ])("explain says what udev drops of %s, with its place, and exits with 2", async (_what, text, message) => {
    const file = join(directory, "dropped.conf");
    await writeFile(file, `${text}\n`);
    const { code, out, err } = await rules("explain", "--event", "add:cpu3", file);
    expect(code).toBe(2);
    expect(out).toContain(`${file}:${message}`);
    expect(err).toContain(`Cannot read all of the rules: ${file}:${message}`);
  });

  test("exits with 3 where there are no rules, and says where it looked", async () => {
    const { code, err } = await rules("explain", "--event", "add:cpu3", "--root", join(directory, "none"));
    expect(code).toBe(3);
    expect(err).toContain("/etc/udev/rules.d");
  });
});

describe("rules check", () => {
  test("exits with 1 and names the lines", async () => {
    const { code, out } = await rules("check", "--rules-dir", directory);
    expect(code).toBe(1);
    expect(out).toContain("program-blocks-worker: PROGRAM makes udev's worker wait");
    expect(out).toContain("50-kdump-tools.rules:2");
  });

  test("exits with 0 where there is nothing to find", async () => {
    const { code, out } = await rules("check", join(directory, "guarded.conf"));
    expect(out).toContain("nothing found");
    expect(code).toBe(0);
  });

  test("prints JSON", async () => {
    const { out } = await rules(
      "check",
      "--json",
      "--kernel-crash-hotplug",
      "absent",
      "--rules-dir",
      directory,
    );
    const report: unknown = JSON.parse(out);
    expect(report).toMatchObject({ schemaVersion: 1, systemd: 257, crashHotplug: "absent" });
    expect(report).toHaveProperty("findings[0].id", "reload-per-event");
  });
});
