import { describe, expect, test } from "vitest";
import { cpu, memoryBlock, sysnameOf, sysnumOf } from "../../src/rules/device.ts";
import { RulesError } from "../../src/rules/error.ts";
import { makeEvent, parseEventSpec } from "../../src/rules/event.ts";
import { eventOf } from "./samples.ts";

const state = (spec: string): string | undefined => eventOf(spec).device.attribute("state");

describe("parseEventSpec", () => {
  test.each([
    ["online:memory40", { action: "online", devpath: "/devices/system/memory/memory40" }],
    ["add:cpu3", { action: "add", devpath: "/devices/system/cpu/cpu3" }],
    ["remove@/devices/system/cpu/cpu3", { action: "remove", devpath: "/devices/system/cpu/cpu3" }],
    [
      "add@/sys/devices/LNXSYSTM:00/PNP0C80:01/",
      { action: "add", devpath: "/devices/LNXSYSTM:00/PNP0C80:01" },
    ],
  ])("reads %s", (text, wanted) => {
    expect(parseEventSpec(text)).toEqual(wanted);
  });

  test.each([
    "",
    "online",
    "plug:memory40",
    "online:memory",
    "online:disk1",
    "online:memory1234567890",
    "online@memory40",
    "online@/etc/passwd",
    "add@/devices/../etc",
    "add@/devices//x",
    "add@/devices/x\ny",
  ])("refuses %j, and says what it expected", (text) => {
    expect(() => parseEventSpec(text)).toThrow(RulesError);
  });
});

describe("makeEvent", () => {
  test("gives a memory block the state that it has when udevd looks", () => {
    expect(state("add:memory40")).toBe("offline");
    expect(state("online:memory40")).toBe("online");
    expect(state("offline:memory40")).toBe("offline");
    expect(state("remove:memory40")).toBeUndefined();
    const kernel = { crashHotplug: "1", autoOnline: "online" } as const;
    expect(eventOf("add:memory40", kernel).device.attribute("state")).toBe("online");
  });

  test("gives a memory block no variables of its own, and the parent that real kernels give it", () => {
    const { device } = eventOf("online:memory40", { crashHotplug: "1" });
    expect(device).toMatchObject({ sysname: "memory40", subsystem: "memory", driver: undefined });
    expect([...device.properties]).toEqual([]);
    expect(device.attribute("phys_index")).toBe("00000028");
    expect(device.parent).toMatchObject({ sysname: "memory", subsystem: undefined, parent: undefined });
    expect(device.parent!.attribute("crash_hotplug")).toBe("1");
    expect(device.attribute("crash_hotplug")).toBeUndefined();
    expect(device.parent!.attribute("block_size_bytes")).toBe("8000000");
  });

  test("gives a CPU its driver once it is bound, and CPU 0 no online file", () => {
    expect(eventOf("add:cpu3").device.driver).toBeUndefined();
    expect(eventOf("online:cpu3").device).toMatchObject({ driver: "processor" });
    expect(eventOf("online:cpu3").device.attribute("online")).toBe("1");
    expect(eventOf("add:cpu3").device.attribute("online")).toBe("0");
    expect(cpu(0, "online", true, { crashHotplug: "0" }).attribute("online")).toBeUndefined();
    expect(eventOf("add:cpu3").device.properties.get("MODALIAS")).toMatch(/^cpu:type:x86/);
  });

  test("knows of other devices their path and what is said", () => {
    const spec = parseEventSpec("add@/devices/LNXSYSTM:00/PNP0C80:01");
    const kernel = { crashHotplug: "absent" } as const;
    expect(makeEvent(spec, { kernel }).device.subsystem).toBeUndefined();
    const { device } = makeEvent(spec, { kernel, variables: { SUBSYSTEM: "acpi", DRIVER: "d", X: "1" } });
    expect(device).toMatchObject({ subsystem: "acpi", driver: "d", sysname: "PNP0C80:01" });
    expect(Object.fromEntries(device.properties)).toEqual({ X: "1", DRIVER: "d" });
  });

  test("does not take a CPU's name below memory for a memory block", () => {
    expect(eventOf("add@/devices/system/memory/cpu3").device.subsystem).toBeUndefined();
  });
});

describe("names", () => {
  test("have slashes for exclamation marks, and a number at their end unless they are all digits", () => {
    expect(sysnameOf("/devices/x/cciss!c0d0")).toBe("cciss/c0d0");
    expect(sysnumOf("c0d0")).toBe("0");
    expect(sysnumOf("0000")).toBe("");
    expect(sysnumOf("memory")).toBe("");
    expect(memoryBlock(40, "online", { crashHotplug: "0" }).devpath).toBe("/devices/system/memory/memory40");
  });
});
