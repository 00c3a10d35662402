import { describe, expect, test } from "vitest";
import { makeDevice } from "../../src/rules/device.ts";
import { NOTHING_KNOWN, type World } from "../../src/rules/world.ts";
import { matches, outcome, properties } from "./samples.ts";

const withText = (text: string): World => ({
  ...NOTHING_KNOWN,
  device: (subsystem, sysname) =>
    sysname === "id"
      ? makeDevice({ devpath: "/devices/virtual/dmi/id", subsystem, attributes: { x: text } })
      : null,
});

describe("attributes", () => {
  test.each<readonly [string, boolean]>([
    ['ATTR{state}=="online"', true],
    ['ATTR{state}!="offline"', true],
    ['ATTR{state}=="?*"', true],
    // A missing attribute: neither holds (token_match_attr).
    ['ATTR{crash_hotplug}=="1"', false],
    ['ATTR{crash_hotplug}!="1"', false],
    ['ATTR{crash_hotplug}==""', false],
    ['ATTR{crash_hotplug}=="*"', false],
    ['ATTRS{crash_hotplug}!="1"', false],
    ['ATTR{subsystem}=="memory"', true],
  ])("%s is %s on an old kernel", (tokens, wanted) => {
    expect(matches(tokens)).toBe(wanted);
  });

  test("are looked for in the parents with ATTRS, and only there with ATTR not", () => {
    const kernel = { crashHotplug: "1" } as const;
    expect(matches('ATTRS{crash_hotplug}=="1"', { kernel })).toBe(true);
    expect(matches('ATTR{crash_hotplug}=="1"', { kernel })).toBe(false);
    expect(matches('ATTRS{crash_hotplug}!="1"', { kernel: { crashHotplug: "0" } })).toBe(true);
  });

  test("of a removed block are gone, those of its parent are not", () => {
    const given = { event: "remove:memory40", kernel: { crashHotplug: "1" } } as const;
    expect(matches('ATTR{state}=="*"', given)).toBe(false);
    expect(matches('ATTRS{crash_hotplug}=="1"', given)).toBe(true);
  });

  test("lose blanks at their end, unless the pattern ends in one", () => {
    expect(matches('ATTR{[dmi/id]x}=="a b"', { world: withText("a b \t\n") })).toBe(true);
    expect(matches('ATTR{[dmi/id]x}=="a b "', { world: withText("a b \n") })).toBe(true);
    expect(matches('ATTR{[dmi/id]x}=="a b "', { world: withText("a b\n") })).toBe(false);
  });

  test("of a device elsewhere are empty where that device has none, and false where there is no such device", () => {
    const world = withText("a");
    expect(matches('ATTR{[dmi/id]y}==""', { world })).toBe(true);
    expect(matches('ATTR{[dmi/id]y}!="z"', { world })).toBe(true);
    expect(matches('ATTR{[dmi/none]x}!="z"', { world })).toBe(false);
    expect(matches('ATTR{[memory/memory40]state}=="online"', { world })).toBe(true);
  });

  test("of a device that nobody knows are taken for missing, and that is said", () => {
    expect(outcome('ATTR{[dmi/id]x}=="a", ENV{b}="1"').assumptions).toEqual([
      { path: "t.rules", line: 1, text: "there is no device [dmi/id]" },
    ]);
  });
});

describe("parents", () => {
  test("must fulfil all of a line's parent matches on one device", () => {
    expect(matches('KERNELS=="memory40", ATTRS{state}=="online"')).toBe(true);
    expect(matches('KERNELS=="memory", ATTRS{state}=="online"')).toBe(false);
    expect(matches('KERNELS=="memory", SUBSYSTEMS==""')).toBe(true);
    expect(matches('ATTRS{state}=="online", ATTRS{block_size_bytes}=="8000000"')).toBe(false);
  });

  test("begin with the device itself and end below /devices/system", () => {
    expect(matches('SUBSYSTEMS=="memory"')).toBe(true);
    expect(matches('KERNELS=="system"')).toBe(false);
  });

  test("that matched serve $id and $attr, also on later lines", () => {
    expect(
      properties('ATTRS{block_size_bytes}=="?*", ENV{a}="$id $attr{block_size_bytes}"\nENV{b}="%b"'),
    ).toEqual({ a: "memory 8000000", b: "memory" });
  });

  test("that did not match take back an earlier $id", () => {
    expect(properties('KERNELS=="memory", ENV{a}="1"\nKERNELS=="x", ENV{b}="1"\nENV{c}="[$id]"')).toEqual({
      a: "1",
      c: "[]",
    });
  });

  test("that fail are named with what each had", () => {
    const [line] = outcome('ATTRS{crash_hotplug}=="1", ENV{a}="1"').lines;
    expect(line).toMatchObject({
      result: "not-matched",
      token: 'ATTRS{crash_hotplug}=="1"',
      found: { text: "no attribute crash_hotplug at memory40, no attribute crash_hotplug at memory" },
    });
  });
});

describe("other matches", () => {
  test("ENV sees the uevent's variables and what earlier lines set", () => {
    expect(
      matches(
        'ENV{ACTION}=="online", ENV{SUBSYSTEM}=="memory", ENV{DEVPATH}=="/devices/*", ENV{SEQNUM}=="1"',
      ),
    ).toBe(true);
    expect(properties('ENV{x}="1", ENV{x}=="1"\nENV{x}!="1", ENV{x}="2"\nENV{x}=="2", ENV{y}="3"')).toEqual({
      x: "2",
      y: "3",
    });
    expect(matches('ENV{MODALIAS}=="cpu:type:x86*", ENV{DRIVER}==""', { event: "add:cpu3" })).toBe(true);
    expect(matches('ENV{DRIVER}=="processor", DRIVER=="processor"', { event: "bind:cpu3" })).toBe(true);
  });

  test("CONST is what the world says, else assumed", () => {
    const world: World = { ...NOTHING_KNOWN, constant: (name) => (name === "virt" ? "none" : undefined) };
    expect(matches('CONST{virt}=="none"', { world })).toBe(true);
    expect(matches('CONST{arch}=="x86-64"', { world })).toBe(true);
    expect(outcome('CONST{virt}=="kvm", CONST{arch}=="x", ENV{a}="1"', { world }).assumptions).toEqual([]);
    expect(outcome('CONST{arch}=="x", ENV{a}="1"', { world }).assumptions.map(({ text }) => text)).toEqual([
      'CONST{arch} is "x86-64"',
    ]);
  });

  test("SYSCTL takes what is missing for empty", () => {
    const world: World = { ...NOTHING_KNOWN, sysctl: (name) => (name === "kernel.x" ? "1 \n" : null) };
    expect(matches('SYSCTL{kernel.x}=="1"', { world })).toBe(true);
    expect(matches('SYSCTL{kernel.y}==""', { world })).toBe(true);
  });

  test("TAG asks for any with == and for none with !=", () => {
    expect(
      properties('TAG+="a"\nTAG+="b"\nTAG=="b", ENV{x}="1"\nTAG!="b", ENV{y}="1"\nTAG!="c", ENV{z}="1"'),
    ).toEqual({
      x: "1",
      z: "1",
    });
  });

  test("a line is named with the first token that failed, in the order of evaluation", () => {
    const [line] = outcome('RESULT=="x", ATTR{state}=="offline", ENV{a}=="1", RUN+="/bin/x"').lines;
    expect(line).toMatchObject({
      result: "not-matched",
      token: 'ENV{a}=="1"',
      found: { value: "", text: '""' },
    });
  });
});
