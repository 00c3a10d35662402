import { describe, expect, test } from "vitest";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { parsePolicyLog } from "../../../src/lab/policies/log.ts";

describe("the policies' log", () => {
  test("is empty before anything happened", () => {
    expect(parsePolicyLog("")).toEqual({ reloads: [], throttled: 0, skipped: 0, running: 0, failures: [] });
  });

  test("gives reloads in milliseconds, and counts the rest", () => {
    const log = parsePolicyLog(
      [
        "start /usr/bin/kdumpctl",
        "start /usr/bin/kdumpctl",
        "throttled",
        "settle 1",
        "reload 12.30 12.35 13.50 0 0",
        "end 0",
        "skipped",
        "",
      ].join("\n"),
    );
    expect(log.reloads.map(({ start, unloaded, end }) => [start, unloaded, end].map(Math.round))).toEqual([
      [12300, 12350, 13500],
    ]);
    expect(log).toMatchObject({ throttled: 1, skipped: 1, running: 1, failures: [] });
  });

  test.each([
    ["reload 1.00 1.00 2.00 1 0", "an unload ended with status 1"],
    ["reload 1.00 1.00 2.00 0 255", "a load ended with status 255"],
    ["end 127", "a detached command ended with status 127"],
    ["settle 127", "udevadm settle ended with status 127"],
    ["failed flock -n 127", "flock -n 127"],
  ])("tells of %j as a failure", (line, failure) => {
    expect(parsePolicyLog(`${line}\n`).failures).toEqual([failure]);
  });

  test.each(["reload 1.00 2.00 0 0", "reload 1 2 3 0 0", "sh: kexec: not found"])("refuses %j", (line) => {
    expect(() => parsePolicyLog(`${line}\n`)).toThrow(MeasurementError);
  });
});
