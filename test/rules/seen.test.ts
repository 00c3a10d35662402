/** What real udevs showed us (test/real/udevadm.test.ts), kept for machines without guests. */
import { describe, expect, test } from "vitest";
import type { SystemdVersion } from "../../src/rules/dialect.ts";
import { NOTHING_KNOWN } from "../../src/rules/world.ts";
import { matches, outcome, properties, remarks, runs } from "./samples.ts";

const NEW = [247, 252, 257] as const satisfies readonly SystemdVersion[];

describe("values that outgrow their buffers", () => {
  const long = "a".repeat(600);

  test("are cut by 247 and refused from 252 on", () => {
    expect(properties(`ENV{A}="${long}"`, { version: 247 })["A"]).toBe("a".repeat(511));
    expect(properties(`ENV{A}="${long}"`, { version: 252 })).toEqual({});
    const appended = `ENV{A}="${long.slice(0, 300)}", ENV{A}+="${long.slice(0, 300)}"`;
    expect(properties(appended, { version: 247 })["A"]).toBe(`${"a".repeat(300)} ${"a".repeat(210)}`);
    expect(properties(appended, { version: 252 })["A"]).toBe("a".repeat(300));
  });

  test("are commands of 1023 bytes in 247", () => {
    const text = `RUN+="/bin/x ${long}${long}"`;
    expect(runs(text, { version: 247 })).toEqual([`/bin/x ${"a".repeat(1016)}`]);
    expect(runs(text, { version: 252 })[0]?.length).toBe(1207);
  });
});

describe("tags", () => {
  test("that were taken away are still found by TAG", () => {
    const text = 'TAG+="a"\nTAG+="b"\nTAG-="a"\nTAG=="a", ENV{A}="1"\nTAG="c"\nTAG=="a|b", ENV{B}="1"';
    for (const version of NEW) {
      expect(properties(text, { version })).toEqual({ A: "1" });
      expect([...outcome(text, { version }).tags]).toEqual(["c"]);
    }
    expect(properties(text, { version: 239 })).toEqual({});
  });

  test("make TAG!= false in 247 where there is another one", () => {
    const text = 'TAG+="a"\nTAG!="z", ENV{A}="1"\nTAG!="a", ENV{B}="1"';
    expect(properties(text, { version: 247 })).toEqual({ B: "1" });
    expect(properties(text, { version: 252 })).toEqual({ A: "1" });
  });
});

test("247 has no option log_level, and takes it for an unknown one", () => {
  expect(matches('OPTIONS="log_level=nope"', { version: 247 })).toBe(true);
  expect(matches('OPTIONS="log_level=nope"', { version: 252 })).toBe(false);
});

test.each([" 5", "0x10", "-5", "+5"])("link_priority may be %j", (value) => {
  expect(remarks(`OPTIONS="link_priority=${value}"`)).toEqual([]);
});

test("form feed and vertical tab are no blanks since v243", () => {
  for (const version of NEW) expect(properties('\fENV{A}="1"\n\vENV{B}="1"', { version })).toEqual({});
  expect(properties('\fENV{A}="1"\n\vENV{B}="1"', { version: 239 })).toEqual({ A: "1", B: "1" });
});

test("bytes are written with \\x and \\OOO, and make up characters", () => {
  expect(properties('ENV{A}=e"\\xc3\\xa9\\303\\251\\xe9|"')).toEqual({ A: "éé\ufffd|" });
});

test("sets have single characters in [. .] and [= =]", () => {
  expect(matches('ACTION=="[[.o.]][[=n=]]line"')).toBe(true);
  expect(matches('ACTION=="[[.x.]]nline"')).toBe(false);
});

test("a word of the result is counted as strtoul() does", () => {
  const world = { ...NOTHING_KNOWN, program: () => ({ exit: 0, stdout: "one two\n" }) };
  expect(properties('PROGRAM="/bin/x", ENV{A}="%c{ 2}", ENV{B}="%c{+1}"', { world })).toEqual({
    A: "two",
    B: "one",
  });
});

test("an empty command fails", () => {
  expect(matches('PROGRAM=""')).toBe(false);
  expect(matches('PROGRAM=" "', { unknownPrograms: "succeeds" })).toBe(false);
});

test("the world knows the modes of files, and what it does not know of the device is there all the same", () => {
  const world = {
    ...NOTHING_KNOWN,
    fileMode: (path: string) => (path.endsWith("/phys_index") ? 0o100444 : null),
  };
  expect(matches('TEST{0200}=="phys_index"', { world })).toBe(false);
  expect(matches('TEST{0400}=="phys_index"', { world })).toBe(true);
  expect(matches('TEST{0200}=="state"', { world })).toBe(true);
});
