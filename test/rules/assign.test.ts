import { describe, expect, test } from "vitest";
import { makeDevice, type UdevDevice } from "../../src/rules/device.ts";
import type { SystemdVersion } from "../../src/rules/dialect.ts";
import type { Outcome } from "../../src/rules/outcome.ts";
import { NOTHING_KNOWN, type World } from "../../src/rules/world.ts";
import { outcome, properties, ruleSet, runs } from "./samples.ts";

const disk: UdevDevice = makeDevice({
  devpath: "/devices/virtual/block/x!y7",
  subsystem: "block",
  node: { name: "x/y7", major: 8, minor: 7 },
});

function onDisk(text: string, version: SystemdVersion = 257, action: "add" | "remove" = "add"): Outcome {
  return ruleSet(text, version).evaluate({ action, device: disk, seqnum: 1 });
}

describe("substitution", () => {
  test.each<readonly [string, string]>([
    ["$kernel %k", "memory40 memory40"],
    ["$number %n", "40 40"],
    ["$devpath %p", "/devices/system/memory/memory40 /devices/system/memory/memory40"],
    ["$attr{state} %s{state} $sysfs{state}", "online online online"],
    ["$attr{none}|$env{none}|$id|$driver|$parent|$links|$result|$devnode", "|||||||"],
    ["$env{SUBSYSTEM} %E{ACTION}", "memory online"],
    ["$major:%m $root $sys $name", "0:0 /dev /sys memory40"],
    ["$$kernel %%k", "$kernel %k"],
    ["$zork %z $", "$zork %z $"],
    ["$idle", "le"],
    ["%b{x}y", "y"],
    // Nothing is copied from there on.
    ["a$env{", "a"],
    ["a$env{}b", "a"],
    ["a$attr b", "a"],
  ])("of %s gives %s", (value, wanted) => {
    expect(properties(`ENV{a}="${value}"`)).toEqual({ a: wanted });
  });

  test("knows the node of a device that has one", () => {
    const found = onDisk('ENV{a}="$devnode %N $major:$minor $name %k $number"');
    expect(found.changed.get("a")).toBe("/dev/x/y7 /dev/x/y7 8:7 x/y7 x/y7 7");
  });

  test("gives no number for names of digits only", () => {
    expect(properties('ENV{a}="[$number]"', { event: "add@/devices/pci/0000" })).toEqual({ a: "[]" });
  });

  test("refuses what does not fit since v243, and cuts it before", () => {
    const text = `ENV{a}="${"x".repeat(511)}"\nENV{b}="${"y".repeat(512)}"`;
    expect(properties(text)).toEqual({ a: "x".repeat(511) });
    expect(properties(text, { version: 219 })["b"]).toBe("y".repeat(511));
    expect(outcome(text).problems.map(({ line }) => line)).toEqual([2]);
  });
});

describe("ENV", () => {
  test("sets, appends with a blank, unsets", () => {
    expect(properties('ENV{a}="1"\nENV{a}+="2"\nENV{a}+=""\nENV{b}+="x"\nENV{c}=""')).toEqual({
      a: "1 2",
      b: "x",
      c: null,
    });
  });

  test("replaces characters where string_escape says so, in that line only", () => {
    expect(properties('ENV{a}="a/b c", OPTIONS="string_escape=replace"\nENV{b}="a/b c"')).toEqual({
      a: "a_b_c",
      b: "a/b c",
    });
  });
});

test("string_escape applies to ENV since after v247", () => {
  const text = 'ENV{a}="a/b", OPTIONS="string_escape=replace"';
  expect(properties(text, { version: 247 })).toEqual({ a: "a/b" });
  expect(properties(text, { version: 252 })).toEqual({ a: "a_b" });
});

test("a value that comes out empty unsets the property since after v252", () => {
  const text = 'ENV{a}="$env{none}"\nENV{a}+="x"';
  expect(properties(text, { version: 252 })).toEqual({ a: " x" });
  expect(properties(text, { version: 257 })).toEqual({ a: "x" });
});

test("SYMLINK-= takes a link away", () => {
  expect(onDisk('SYMLINK+="a b"\nSYMLINK-="a c"').links).toEqual(["b"]);
});

test("NAME needs an interface since after v247", () => {
  const text = 'NAME="n", ENV{a}="1"\nENV{b}="$name"';
  expect(properties(text, { version: 247 })).toEqual({ a: "1", b: "n" });
  expect(properties(text, { version: 252 })).toEqual({ a: "1", b: "memory40" });
});

describe("RUN", () => {
  test("collects commands in the order of the rules", () => {
    expect(
      runs('RUN+="/a %k"\nRUN{builtin}+="kmod load x", RUN+="/b", RUN{program}+="/c"\nRUN+="/a %k"'),
    ).toEqual(["/a memory40", "kmod load x", "/b", "/c", "/a memory40"]);
  });

  test("starts over with =, and closes with :=", () => {
    expect(runs('RUN+="/a"\nRUN="/b"\nRUN+="/c"')).toEqual(["/b", "/c"]);
    expect(runs('RUN+="/a"\nRUN:="/b"\nRUN+="/c"\nRUN="/d"')).toEqual(["/b"]);
  });

  test.each<readonly [SystemdVersion, string]>([
    [219, "/a late r2 memory"],
    [239, "/a late r2 memory"],
    [247, "/a early r1 "],
    [252, "/a early r1 "],
    [257, "/a early r1 "],
  ])("is substituted when the list is executed up to v239, and at once since v243: %d", (version, wanted) => {
    const text =
      'ENV{x}="early"\nPROGRAM="one"\nRUN+="/a $env{x} $result $id"\nENV{x}="late"\nKERNELS=="memory", PROGRAM="two"';
    expect(runs(text, { version, world: ruleWorld })).toEqual([wanted]);
  });

  const ruleWorld: World = {
    ...NOTHING_KNOWN,
    program: (command) => ({ exit: 0, stdout: command === "one" ? "r1" : "r2" }),
  };

  test("takes a command of 16383 bytes since v243, of 1023 before", () => {
    const long = "x".repeat(2000);
    expect(runs(`RUN+="/${long}"`)).toEqual([`/${long}`]);
    expect(runs(`RUN+="/${long}"`, { version: 239 })[0]!.length).toBe(1023);
  });
});

describe("ATTR", () => {
  test("is written while rules are evaluated, in order with programs", () => {
    const found = outcome('PROGRAM="/a"\nATTR{online}="1"\nPROGRAM="/b"\nRUN+="/c"');
    expect(found.actions.map((action) => action.kind)).toEqual(["program", "attribute", "program"]);
    expect(found.actions[1]).toMatchObject({
      file: "/sys/devices/system/memory/memory40/online",
      value: "1",
    });
  });

  test("of another device is written there", () => {
    const [action] = outcome(
      'ATTR{[memory/memory]auto_online_blocks}="offline"\nATTR{[memory/memory40]x}="%n"',
    ).actions.slice(-1);
    expect(action).toMatchObject({ file: "/sys/devices/system/memory/memory40/x", value: "40" });
  });

  test("reads back as it was read before, and as written where it was not", () => {
    const event = "add:memory40";
    expect(
      properties('ATTR{state}=="offline", ATTR{state}="online"\nATTR{state}=="offline", ENV{cached}="1"', {
        event,
      }),
    ).toEqual({ cached: "1" });
    expect(properties('ATTR{state}="online"\nATTR{state}=="online", ENV{seen}="1"', { event })).toEqual({
      seen: "1",
    });
  });

  test("with a star in its name is left out, and that is said", () => {
    const found = outcome('ATTR{power/*/x}="1"');
    expect(found.actions).toEqual([]);
    expect(found.problems[0]!.message).toContain("the write is left out");
  });
});

describe("names and owners", () => {
  test("are for devices that have a node", () => {
    const text = 'OWNER="root", GROUP="disk", MODE="0660", SYMLINK+="a b"\nSYMLINK+="%k c d/$attr{none}"';
    const found = onDisk(text);
    expect(found).toMatchObject({ owner: "root", group: "disk", mode: 0o660 });
    expect(found.links).toEqual(["a", "b", "x/y7", "c", "d/"]);
    expect(outcome(text).lines.map(({ result }) => result)).toEqual(["not-applicable", "not-applicable"]);
    expect(onDisk(text, 257, "remove").owner).toBeUndefined();
  });

  test("can be closed with :=", () => {
    expect(
      onDisk('MODE:="0600"\nMODE="0666"\nSYMLINK:="a"\nSYMLINK+="b"\nOWNER:="x"\nOWNER="y"'),
    ).toMatchObject({
      mode: 0o600,
      links: ["a"],
      owner: "x",
    });
  });

  test("do not keep other effects of their line from a memory block, since v243", () => {
    const text = 'OWNER="root", RUN+="/a"';
    expect(runs(text, { version: 247 })).toEqual(["/a"]);
    expect(runs(text, { version: 239 })).toEqual([]);
    expect(runs('SYMLINK!="x", RUN+="/a"', { version: 239 })).toEqual([]);
    expect(runs('SYMLINK!="x", RUN+="/a"', { version: 257 })).toEqual(["/a"]);
  });

  test("of interfaces are for interfaces", () => {
    expect(outcome('NAME="x", ENV{a}="1"').problems[0]!.message).toContain("Only network interfaces");
    const device = makeDevice({ devpath: "/devices/virtual/net/eth0", subsystem: "net", ifindex: 2 });
    expect(ruleSet('NAME="lan %n"').evaluate({ action: "add", device, seqnum: 1 }).name).toBe("lan_0");
  });

  test("take tags away again, and refuse bad ones", () => {
    const found = outcome('TAG+="a"\nTAG+="b"\nTAG-="a"\nTAG+="x y"');
    expect([...found.tags]).toEqual(["b"]);
    expect(found.problems.map(({ line }) => line)).toEqual([4]);
    expect([...outcome('TAG+="a"\nTAG="b"').tags]).toEqual(["b"]);
  });
});
