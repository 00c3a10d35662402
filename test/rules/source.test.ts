import { describe, expect, test } from "vitest";
import { RulesError } from "../../src/rules/error.ts";
import {
  decodeRules,
  isRuleFileName,
  type RuleDirectoryEntry,
  selectRuleFiles,
} from "../../src/rules/source.ts";

function directory(path: string, ...names: readonly string[]): readonly RuleDirectoryEntry[] {
  // A star marks a file that is empty or a link to /dev/null.
  return names.map((name) => {
    const plain = name.replace("*", "");
    return { name: plain, path: `${path}/${plain}`, masks: name.endsWith("*") };
  });
}

const bytes = (...parts: readonly (string | number)[]): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) => (typeof part === "number" ? [part] : [...new TextEncoder().encode(part)])),
  );

describe("selectRuleFiles", () => {
  test("sorts by name over all directories, in byte order", () => {
    const files = selectRuleFiles([
      directory("/etc", "70-b.rules", "Z.rules", "a.rules", "100-x.rules"),
      directory("/usr", "60-a.rules", "70-B.rules", "é.rules"),
    ]);
    expect(files.map(({ path }) => path)).toEqual([
      "/etc/100-x.rules",
      "/usr/60-a.rules",
      "/usr/70-B.rules",
      "/etc/70-b.rules",
      "/etc/Z.rules",
      "/etc/a.rules",
      "/usr/é.rules",
    ]);
  });

  test("takes the first of files with one name", () => {
    const files = selectRuleFiles([
      directory("/etc", "50-a.rules"),
      directory("/usr", "50-a.rules", "60-b.rules"),
    ]);
    expect(files.map(({ path }) => path)).toEqual(["/etc/50-a.rules", "/usr/60-b.rules"]);
  });

  test("lets an empty file or a link to /dev/null hide a name", () => {
    expect(
      selectRuleFiles([directory("/etc", "98-kexec.rules*"), directory("/usr", "98-kexec.rules")]),
    ).toEqual([]);
  });

  test("does not let it hide what comes from a higher directory", () => {
    const files = selectRuleFiles([directory("/etc", "a.rules"), directory("/usr", "a.rules*")]);
    expect(files.map(({ path }) => path)).toEqual(["/etc/a.rules"]);
  });

  test.each(["a.rules~", ".a.rules", "a.rules.bak", "a.rules.rpmnew", "a.rules.dpkg-old", "a", "a.rule"])(
    "passes over %s",
    (name) => {
      expect(isRuleFileName(name)).toBe(false);
    },
  );
});

describe("decodeRules", () => {
  test("takes UTF-8", () => {
    expect(decodeRules("f", bytes("é"))).toEqual({ path: "f", text: "é" });
  });

  test("refuses a zero byte, naming its line", () => {
    expect(() => decodeRules("f", bytes("a\nb\n", 0))).toThrow(
      new RulesError("read rules", "f:3", "has a zero byte, expected text"),
    );
  });

  test("refuses what is not UTF-8, naming its line", () => {
    expect(() => decodeRules("f", bytes("a\nb", 0xff, "\n"))).toThrow("Cannot read rules: f:2 is not UTF-8");
  });
});
