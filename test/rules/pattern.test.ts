import { describe, expect, test } from "vitest";
import { compileGlob } from "../../src/rules/glob.ts";
import { matches } from "./samples.ts";

describe("compileGlob", () => {
  test.each<readonly [string, string, boolean]>([
    ["memory*", "memory40", true],
    ["*", "", true],
    ["*", "a/b/.c", true],
    ["?", "", false],
    ["?", "é", true],
    ["a?c", "a/c", true],
    ["*mem*4*", "xmemory40", true],
    ["*a*b*c", "aXbXcXd", false],
    ["[a-c]x", "bx", true],
    ["[!a-c]x", "bx", false],
    ["[^a-c]x", "dx", true],
    ["[]a]", "]", true],
    ["[!]a]", "]", false],
    ["[a-]", "-", true],
    ["[[:digit:]x]", "5", true],
    ["[[:digit:]x]", "x", true],
    ["[[:upper:]]", "a", false],
    ["[[:nonsense:]]", "n", false],
    ["[\\]]", "]", true],
    ["memory[", "memory[", true],
    ["[abc", "[abc", true],
    ["\\*", "*", true],
    ["\\*", "a", false],
    ["\\", "\\", true],
    ["a**b", "ab", true],
    ["A*", "abc", false],
  ])("%s against %s is %s", (glob, text, wanted) => {
    expect(compileGlob(glob)(text)).toBe(wanted);
  });

  test("takes no exponential time on many stars", () => {
    expect(compileGlob(`${"*a".repeat(200)}b`)("a".repeat(5000))).toBe(false);
  });
});

describe("the value of a match", () => {
  test.each<readonly [string, boolean]>([
    ['KERNEL=="memory40"', true],
    ['KERNEL!="memory40"', false],
    ['KERNEL=="memory4"', false],
    ['KERNEL=="cpu*|memory*"', true],
    ['KERNEL!="cpu*|memory*"', false],
    ['KERNEL=="foo||memory40"', true],
    ['ENV{unset}==""', true],
    ['ENV{unset}=="|foo"', true],
    ['ENV{unset}=="|foo*"', true],
    ['ENV{unset}!="|foo"', false],
    ['ENV{unset}=="foo"', false],
    ['ENV{unset}!="1"', true],
    ['ENV{unset}=="*"', true],
    ['ENV{unset}=="?*"', false],
    ['ENV{unset}!="?*"', true],
    ['KERNEL=="?*"', true],
    ['KERNEL==""', false],
    ['DRIVER==""', true],
    ['NAME==""', true],
    ['RESULT==""', true],
    ['DEVPATH=="*/memory40"', true],
    ['ACTION=="online"', true],
    ['SUBSYSTEM=="memory"', true],
    ['SUBSYSTEM=="class"', false],
    ['SUBSYSTEM!="bus"', true],
    ['KERNEL==i"MEMORY40"', true],
    ['KERNEL==i"MEM*"', true],
    ['KERNEL!=i"MEMORY40"', false],
  ])("%s is %s for memory40", (tokens, wanted) => {
    expect(matches(tokens)).toBe(wanted);
  });

  test("takes bus, class and subsystem for one", () => {
    const event = "add@/devices/virtual/x";
    expect(matches('SUBSYSTEM=="bus"', { event })).toBe(false);
    expect(matches('SUBSYSTEM==""', { event })).toBe(true);
  });

  test("takes TAG literally up to v239", () => {
    expect(matches('TAG=="f*"', { version: 239 })).toBe(false);
  });
});
