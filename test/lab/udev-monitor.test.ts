import { describe, expect, test } from "vitest";
import { MeasurementError } from "../../src/lab/errors.ts";
import { parseMonitor } from "../../src/lab/udev-monitor.ts";

const TEXT = `monitor will print the received events for:
UDEV - the event which udev sends out after rule processing
KERNEL - the kernel uevent

KERNEL[17.100000] add      /devices/system/memory/memory32 (memory)
KERNEL[17.150000] online   /devices/system/memory/memory32 (memory)
UDEV  [17.160000] add      /devices/system/memory/memory32 (memory)
UDEV  [17.200000] online   /devices/system/memory/memory32 (memory)
UDEV  [18.100000] change   /devices/system/memory/memory5 (memory)
KERNEL[18.100100] change   /devices/system/memory/memory5 (memory)
KERNEL[18.200000] online   /devices/system/memory/memory33 (memory)
`;

describe("udevadm monitor", () => {
  test("tells when the kernel spoke of an event, and when udevd was done with it", () => {
    const events = parseMonitor(TEXT).map(({ told, done, ...event }) => ({
      ...event,
      ms: done === undefined ? undefined : Math.round((done - told) * 10) / 10,
    }));
    expect(events).toEqual([
      { action: "add", block: 32, ms: 60 },
      { action: "online", block: 32, ms: 50 },
      // Two sockets: udevd's word may come first.
      { action: "change", block: 5, ms: -0.1 },
      { action: "online", block: 33, ms: undefined },
    ]);
  });

  test("has lost events where udevd speaks of one that the kernel did not", () => {
    const text = "UDEV  [1.000000] online   /devices/system/memory/memory32 (memory)\n";
    expect(() => parseMonitor(text)).toThrow(MeasurementError);
    expect(() => parseMonitor(text)).toThrow("online 32");
  });

  test("has seen nothing yet where there are only headings", () => {
    expect(parseMonitor(TEXT.slice(0, TEXT.indexOf("KERNEL["))).length).toBe(0);
  });
});
