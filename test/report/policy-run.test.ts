import { describe, expect, test } from "vitest";
import type { PolicyRunResult } from "../../src/lab/policy-run.ts";
import { policyRunsJson, policyRunsText } from "../../src/report/policy-run.ts";
import { FIGURES, RHEL7 as REAL_RHEL7 } from "./a-policy-run.ts";

const SETTING = { qemu: "10.0.2", kexecTools: "2.0.29", accelerator: "tcg" };
const RHEL7: PolicyRunResult = { ...REAL_RHEL7, release: "6.1.0\u001b[2J" };
const NONE: PolicyRunResult = {
  ...RHEL7,
  case: { ...RHEL7.case, policy: "none" },
  figures: { ...FIGURES, reloads: 0, accurateAfterMs: undefined },
  costs: { ...RHEL7.costs, reloadMs: undefined },
  installs: [{ at: 5, pauseMicroseconds: undefined, bytesWritten: 744, reactionMs: undefined }],
  failures: ["kdump is broken at the end, not inaccurate"],
};

/** The cells of a row. */
function row(text: string, name: string): readonly string[] {
  const line = text.split("\n").find((each) => each.startsWith(`  ${name}  `));
  return (
    line
      ?.slice(name.length + 2)
      .trim()
      .split(/ {2,}/) ?? []
  );
}

describe("policies side by side", () => {
  test("as text have a column each, with what only one of them has", () => {
    const text = policyRunsText(SETTING, [{ result: NONE }, { result: RHEL7 }]);
    expect(text).toMatch(
      /^Linux 6\.1\.0\\u001b\[2J under QEMU 10\.0\.2 \(tcg\), systemd-udevd 252 of bookworm/,
    );
    expect(text).toContain("2 DIMMs of 512 MiB plugged by somebody else: 8 blocks of 128 MiB\n");
    expect(text).toMatch(/^ +none +rhel7$/m);
    expect(row(text, "reloads")).toEqual(["0", "8"]);
    expect(row(text, "no dump, in all")).toEqual(["7.5 s", "7.5 s"]);
    expect(row(text, "accurate after")).toEqual(["never", "8.1 s"]);
    expect(row(text, "a reload")).toEqual(["-", "960.0 ms"]);
    expect(row(text, "as it should be")).toEqual(["NO", "yes"]);
    expect(text).not.toContain("our reaction");
    expect(text).not.toContain("In brackets");
    expect(text).toContain("  none: kdump is broken at the end, not inaccurate\n");
    expect(text).toContain("every 0.3 ms, at worst after 5.3 ms");
    expect(text).toMatch(/^(?:[\x20-\x7e]*\n)+$/);
  });

  test("as text have what was predicted in brackets", () => {
    const prediction = { ...FIGURES, reloads: 7, blindMs: 900, accurateAfterMs: undefined };
    const text = policyRunsText(SETTING, [{ result: NONE }, { result: RHEL7, prediction }]);
    expect(row(text, "reloads")).toEqual(["0", "8 (7)"]);
    expect(row(text, "no dump, in all")).toEqual(["7.5 s", "7.5 s (900.0 ms)"]);
    expect(row(text, "accurate after")).toEqual(["never", "8.1 s (never)"]);
    expect(text).toContain("In brackets: what the simulation says");
  });

  test("as JSON are plain values, null where there is none", () => {
    const prediction = { ...FIGURES, accurateAfterMs: undefined };
    const runs = [{ result: NONE }, { result: RHEL7, prediction }];
    const json: unknown = JSON.parse(JSON.stringify(policyRunsJson(SETTING, runs)));
    expect(json).toMatchObject({
      schemaVersion: 1,
      qemu: "10.0.2",
      runs: [
        {
          case: { policy: "none" },
          figures: { accurateAfterMs: null, reloads: 0 },
          costs: { reloadMs: null, kernelUpdateMs: null, hotAddMs: 67.9 },
          installs: [{ pauseMicroseconds: null, bytesWritten: 744 }],
          prediction: null,
        },
        { figures: { accurateAfterMs: 8135.1 }, prediction: { accurateAfterMs: null, blindMs: 7517.7 } },
      ],
    });
  });

  test("say where the kernel helps every policy", () => {
    const text = policyRunsText(SETTING, [{ result: { ...RHEL7, kernelUpdates: true } }]);
    expect(text).toContain("This kernel rewrites the header by itself");
  });
});
