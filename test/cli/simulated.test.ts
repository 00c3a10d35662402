/** Every command that takes a machine takes a simulated one, and says that it is one. */
import { expect, test } from "vitest";
import { Interrupted } from "../../src/cli/context.ts";
import { run } from "../../src/cli/run.ts";
import { ended } from "./ended.ts";

const SMALL = "ram=256M,crash=16M";

test("audit is accurate before a plug, and not after it", async () => {
  const before = await ended("audit", `sim:6.1,${SMALL}`);
  expect(before).toMatchObject({ code: 0, stderr: "" });
  expect(before.stdout).toContain(`sim:6.1,${SMALL} (simulated): accurate\n`);
  const after = await ended("audit", `sim:6.1,${SMALL},dimm=128M`, "--json");
  expect(after.code).toBe(1);
  expect(JSON.parse(after.stdout)).toMatchObject({
    target: `sim:6.1,${SMALL},dimm=128M`,
    simulated: true,
    verdict: "inaccurate",
    memory: { missing: [{ start: "0x100000000", end: "0x108000000", bytes: 128 << 20 }], stale: [] },
  });
});

test("audit of 6.12 finds the removed DIMM that its handler leaves", async () => {
  const { code, stdout } = await ended("audit", `sim:6.12,${SMALL},dimm=128M,unplug=dimm0`);
  expect(code).toBe(1);
  expect(stdout).toMatch(/memory stale +0x100000000-0x108000000 \(128 MiB\)/);
});

test("keep --once makes it true", async () => {
  const { code, stdout } = await ended("keep", "--once", `sim:6.1,load=kexec_load,${SMALL},dimm=128M`);
  expect(code).toBe(0);
  expect(stdout).toContain("installed: header, region-table, digest");
  expect(stdout).toContain("(simulated): accurate");
});

test("keep --once moves a header that outgrows its segment, and says so", async () => {
  // What touches is one program header, so it takes holes: every second DIMM is unplugged.
  const dimms = Array.from({ length: 160 }, () => "dimm=128M");
  const holes = Array.from({ length: 80 }, (_, i) => `unplug=dimm${2 * i + 1}`);
  const target = `sim:6.1,${[SMALL, "slots=160", ...dimms, ...holes].join(",")}`;
  const { code, stdout } = await ended("keep", "--once", target);
  expect(code).toBe(0);
  expect(stdout).toContain("installed: header, memory-map, memory-map, command-line, region-table, digest, ");
  expect(stdout).toMatch(
    /core header +0x[0-9a-f]+, 92 program headers, room for 291; moved, its segment was too small\n/,
  );
  const json = await ended("keep", "--once", target, "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({ verdict: "accurate", image: { headerMoved: true } });
});

test("keep goes on until it is interrupted, and tells of what it does line by line", async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const print = (text: string): void => {
    lines.push(text);
    if (lines.length === 3) stop.abort(new Interrupted("Interrupted"));
  };
  const context = { print, say: (line: string) => void lines.push(line), signal: stop.signal };
  const target = `sim:6.1,${SMALL},dimm=128M`;
  expect(await run(["keep", target, "--json"], context, "1.2.3")).toBe(130);
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { target, simulated: true, event: "verdict", audit: { verdict: "inaccurate" } },
    { target, event: "installed", reactionMs: null, installed: { pauseMicroseconds: null } },
    { target, event: "verdict", audit: { verdict: "accurate" } },
  ]);
  expect(lines.join("")).toMatch(/"at":"\d{4}-\d\d-\d\dT/);
});

test("plug adds DIMMs, and says once that they are simulated", async () => {
  const { code, stdout } = await ended("plug", `sim:6.1,${SMALL}`, "--memory", "128M", "--count", "2");
  expect(code).toBe(0);
  expect(stdout.match(/simulated/g)).toHaveLength(1);
  expect(stdout).toMatch(/^dimm0: 128 MiB plugged.*the header is accurate$/m);
  expect(stdout).toMatch(/^dimm1: /m);
});

test("plug tells what it did where a later DIMM fails, and what would spoil the dump", async () => {
  const args = ["plug", `sim:6.1,${SMALL},slots=2`, "--memory", "128M", "--count", "3"];
  const text = await ended(...args);
  expect(text.code).not.toBe(0);
  const lines = text.stdout.match(/^dimm\d+: 128 MiB plugged/gm) ?? [];
  expect(lines).toHaveLength(2);
  const json: unknown = JSON.parse((await ended(...args, "--json")).stdout);
  expect(json).toMatchObject({ after: { verdict: "accurate" } });
  expect(json).toHaveProperty("plugged.length", 2);
});

test("plug warns where the capture kernel would take the memory for itself", async () => {
  const { stdout } = await ended("plug", `sim:6.1,${SMALL},memhotplug`, "--memory", "128M");
  expect(stdout).toMatch(/warning: .*acpi_no_memhotplug/);
});

test("unplug removes CPUs that came later, and says why others stay", async () => {
  const target = `sim:6.1,${SMALL},cpu`;
  const gone = await ended("unplug", target, "cpu2");
  expect(gone).toMatchObject({ code: 0 });
  expect(gone.stdout).toMatch(/^cpu2: a CPU removed; the header is accurate$/m);
  const stays = await ended("unplug", target, "cpu1");
  expect(stays).toMatchObject({ code: 1 });
  expect(stays.stdout).toMatch(/^cpu1: a CPU not removed: nothing was asked for: it was there when/m);
});

test("unplug removes DIMMs by name, and says once that they are simulated", async () => {
  const { code, stdout } = await ended("unplug", `sim:6.12,${SMALL},dimm=128M,dimm=256M`, "dimm1", "dimm0");
  expect(code).toBe(0);
  expect(stdout.match(/simulated/g)).toHaveLength(1);
  expect(stdout).toMatch(/^dimm1: 256 MiB removed; the header is accurate$/m);
  expect(stdout).toMatch(/^dimm0: 128 MiB removed; the header is accurate$/m);
});

test("unplug tells of a DIMM that stays, exit code 1, and goes on with the others", async () => {
  const args = ["unplug", `sim:6.1,${SMALL},dimm=128M,dimm=128M,pin=dimm0`, "dimm0", "dimm1"];
  const text = await ended(...args);
  expect(text.code).toBe(1);
  expect(text.stdout).toMatch(
    /^dimm0: 128 MiB not removed: the guest refused: .*; the header describes it and is accurate$/m,
  );
  expect(text.stdout).toMatch(/^dimm1: 128 MiB removed; the header is accurate$/m);
  const { code, stdout } = await ended(...args, "--json");
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    schemaVersion: 1,
    simulated: true,
    devices: [
      {
        name: "dimm0",
        start: "0x100000000",
        end: "0x108000000",
        bytes: 128 << 20,
        outcome: "refused",
        reason: expect.stringContaining("in use"),
        backend: null,
      },
      { name: "dimm1", outcome: "removed", reason: "", staleMicroseconds: null, backend: "deleted" },
    ],
    after: { verdict: "accurate", memory: { devices: [{ name: "dimm0", kind: "dimm" }] } },
  });
});

test("unplug of an unknown device removes nothing and lists those that it can, exit code 2", async () => {
  const target = `sim:6.1,${SMALL},dimm=128M,dimm=128M`;
  const { code, stdout, stderr } = await ended("unplug", target, "dimm0", "dimm7");
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(
    /^Nothing was removed\. .*no DIMM or CPU "dimm7"; these can be removed: dimm0 at .*, dimm1 at/,
  );
  expect((await ended("unplug", target)).code).toBe(2);
  expect((await ended("unplug", target, "dimm0", "--wait", "soon")).code).toBe(2);
});

test("audit names the memory devices as unplug takes them", async () => {
  const { stdout } = await ended("audit", `sim:6.12,${SMALL},slots=12${",dimm=128M".repeat(10)}`);
  expect(stdout).toMatch(/^ {2}memory devices +dimm0: 0x100000000-0x108000000 \(128 MiB\)$/m);
  expect(stdout).toMatch(/^ +and 2 more \(--json lists all\)$/m);
});

test("inspect shows the header", async () => {
  const { code, stdout } = await ended("inspect", `sim:5.10,${SMALL}`, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ simulated: true, image: { digest: "covers-header" } });
});

test("nothing loaded cannot be told, exit code 3", async () => {
  expect((await ended("audit", `sim:6.1,${SMALL},noload`)).code).toBe(3);
  expect((await ended("audit", `sim:6.1,${SMALL},unload`)).code).toBe(3);
});

test.each([
  [["audit", "sim:"], /expected a kernel: 5\.10, 6\.1, 6\.12/],
  [["audit", "sim:6.1,ram=2X"], /"ram=2X" at character 5/],
  [["audit", "sim:6.1,dimm=1M"], /multiple of a memory block/],
  [["plug", `sim:6.1,${SMALL}`, "--memory", "3T"], /machine's limit of 2 TiB/],
])("%j says what is wrong, exit code 2", async (args, words) => {
  const { code, stdout, stderr } = await ended(...args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toMatch(words);
});

test("help names simulated machines as targets", async () => {
  for (const command of ["audit", "inspect", "keep", "plug", "unplug"]) {
    expect((await ended(command, "--help")).stdout).toContain("sim:SPEC");
  }
});
