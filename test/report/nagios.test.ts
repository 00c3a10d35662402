import { describe, expect, test } from "vitest";
import { nagiosOf, nagiosUnknown } from "../../src/report/nagios.ts";
import { ended } from "../cli/ended.ts";

const SMALL = "ram=209M,crash=16M";

const audit = (target: string, verdict: string, bytes: number | string = 0): unknown => ({
  target,
  verdict,
  reason: `it is ${verdict}`,
  memory: { missing: [{ bytes }], stale: [] },
  cpus: { missing: verdict === "inaccurate" ? ["cpu7"] : [] },
  warnings: [],
});

describe("one line for a monitoring system", () => {
  test.each([
    ["accurate", "OK", 0],
    ["inaccurate", "WARNING", 1],
    ["not-loaded", "CRITICAL", 2],
    ["broken", "CRITICAL", 2],
    ["unknown", "UNKNOWN", 3],
  ])("of a target that is %s", (verdict, state, code) => {
    const result = nagiosOf([audit("qmp:/a", verdict)], false);
    expect(result.code).toBe(code);
    expect(result.line).toMatch(
      new RegExp(`^${state} - qmp:/a ${verdict}: it is ${verdict}\\|missing=0B;0;;0 `),
    );
  });

  test("has sums that are exact, and one bar, and no line end within", () => {
    const documents = [
      audit("qmp:/a|b", "inaccurate", "9007199254740993"),
      audit("qmp:/c\n", "accurate", 1),
      { target: "qmp:/d", verdict: "unknown", reason: "No socket" },
    ];
    expect(nagiosOf(documents, true)).toEqual({
      code: 1,
      line: "WARNING - 1 of 3 targets accurate; qmp:/a/b inaccurate: it is inaccurate; qmp:/d unknown: No socket|targets=3;;;0 accurate=1;;;0;3 missing=9007199254740994B;0;;0 stale=0B;0;;0 cpus_missing=1;0;;0\n",
    });
  });

  test("names five of many, and the worst decides", () => {
    const many = Array.from({ length: 8 }, (_, i) => audit(`qmp:/${i}`, i === 7 ? "broken" : "unknown"));
    const { line, code } = nagiosOf(many, true);
    expect(code).toBe(2);
    expect(line).toMatch(/^CRITICAL - 0 of 8 targets accurate; .*; and 3 more\|targets=8/);
    expect(nagiosOf([], true)).toMatchObject({ code: 3 });
  });

  test("warns of what would spoil the dump of a header that is true", () => {
    const document = {
      target: "a",
      verdict: "accurate",
      reason: "true",
      warnings: ["lacks acpi_no_memhotplug"],
    };
    expect(nagiosOf([document], false)).toMatchObject({
      code: 1,
      line: expect.stringMatching(/^WARNING - a accurate: true; lacks acpi_no_memhotplug\|/),
    });
  });

  test("says in one line what could not be asked", () => {
    expect(nagiosUnknown("No socket|\nstart it\n")).toEqual({
      code: 3,
      line: "UNKNOWN - No socket/; start it\n",
    });
  });
});

describe("audit --nagios", () => {
  test.each([
    [
      [`sim:6.1,${SMALL}`],
      0,
      /^OK - sim:6\.1,.* accurate: .*\|missing=0B;0;;0 stale=0B;0;;0 cpus_missing=0;0;;0\n$/,
    ],
    [[`sim:6.1,${SMALL},dimm=128M`], 1, /^WARNING - .*\|missing=134217728B;0;;0 /],
    [[`sim:6.1,${SMALL},noload`], 2, /^CRITICAL - .* not-loaded: /],
    [["qmp:/nowhere"], 3, /^UNKNOWN - No socket at "\/nowhere": /],
    [["nonsense"], 3, /^UNKNOWN - Cannot use "nonsense" as a target/],
    [[], 3, /^UNKNOWN - Give a TARGET or --all\n$/],
  ])("of %j is one line, exit code %i", { timeout: 60_000 }, async (args, code, words) => {
    const result = await ended("audit", "--nagios", ...args);
    expect(result).toMatchObject({ code, stderr: "" });
    expect(result.stdout).toMatch(words);
    expect(result.stdout.trim().split("\n")).toHaveLength(1);
  });

  test("of options that there are not is unknown, and no alarm", async () => {
    expect(await ended("audit", "--nagios", "--frobnicate")).toMatchObject({ code: 3 });
    expect(await ended("audit", "--frobnicate")).toMatchObject({ code: 2 });
  });
});
