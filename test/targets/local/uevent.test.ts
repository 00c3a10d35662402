/** Uevents as datagrams, and as what udevadm prints. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineError } from "../../../src/targets/qemu/line-parser.ts";
import { MonitorParser, type MonitorNews } from "../../../src/targets/local/udevadm-text.ts";
import { concernsLayout, LARGEST_UEVENT, parseUevent } from "../../../src/targets/local/uevent.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

const PATH = "/devices/system/memory/memory32";
const ONLINE = `online@${PATH}\0ACTION=online\0DEVPATH=${PATH}\0SUBSYSTEM=memory\0SEQNUM=813\0`;

describe("a datagram of the kernel", () => {
  test("says what happened to which device", () => {
    expect(parseUevent(bytes(ONLINE))).toEqual({ action: "online", devpath: PATH, subsystem: "memory" });
  });

  test("may hold line ends and anything but NUL in a variable, as MODALIAS of a CPU does", () => {
    const path = "/devices/system/cpu/cpu3";
    const text = `add@${path}\0ACTION=add\0DEVPATH=${path}\0SUBSYSTEM=cpu\0MODALIAS=cpu:type:x86,ven0002\xff,\n\0SEQNUM=9\0`;
    expect(parseUevent(bytes(text))).toEqual({ action: "add", devpath: path, subsystem: "cpu" });
  });

  test.each([
    ["nothing", ""],
    ["no NUL at its end", ONLINE.slice(0, -1)],
    ["no header", ONLINE.slice(ONLINE.indexOf("\0") + 1)],
    ["udevd's own header", `libudev\0\xfe\xed\xca\xfe${ONLINE}`],
    ["a header without a path", "online@\0ACTION=online\0DEVPATH=\0SUBSYSTEM=memory\0"],
    ["a path that the header does not have", ONLINE.replace("DEVPATH=/devices", "DEVPATH=/device")],
    ["an action that the header does not have", ONLINE.replace("ACTION=online", "ACTION=remove")],
    ["its action twice", `${ONLINE}ACTION=online\0`],
    ["no subsystem", ONLINE.replace("SUBSYSTEM=memory\0", "")],
    ["more than the kernel sends", `${ONLINE}X=${"x".repeat(LARGEST_UEVENT)}\0`],
  ])("is refused where it has %s", (_, text) => {
    expect(parseUevent(bytes(text))).toBeUndefined();
  });

  test("of any bytes is refused, or is what they say", () => {
    const piece = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(
        ONLINE,
        "online@",
        PATH,
        "\0",
        "ACTION=",
        "online",
        "DEVPATH=",
        "SUBSYSTEM=memory",
        "@",
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const datagram = bytes(pieces.join(""));
        const event = parseUevent(datagram);
        if (event === undefined) return;
        const text = Buffer.from(datagram).toString("latin1");
        expect(text.startsWith(`${event.action}@${event.devpath}\0`)).toBe(true);
        expect(text.endsWith("\0")).toBe(true);
        expect(`\0${text}`).toContain(`\0SUBSYSTEM=${event.subsystem}\0`);
      }),
    );
  });

  test("cut short anywhere is refused or still says the same", () => {
    const whole = bytes(ONLINE);
    const event = parseUevent(whole);
    for (let length = 0; length < whole.length; length++)
      expect([undefined, event]).toContainEqual(parseUevent(whole.subarray(0, length)));
  });

  test("matters where it is of memory or of a CPU", () => {
    const subsystems = ["memory", "cpu", "memory_tiering", "cpuid", "net", ""];
    const events = subsystems.map((subsystem) => ({ action: "add", devpath: "/x", subsystem }));
    expect(events.filter(concernsLayout).map(({ subsystem }) => subsystem)).toEqual(["memory", "cpu"]);
  });
});

const MONITOR = `monitor will print the received events for:
KERNEL - the kernel uevent

KERNEL[17.100000] add      ${PATH} (memory)
KERNEL[17.150000] online   ${PATH} (memory)
KERNEL[18.000001] add      /devices/system/cpu/cpu3 (cpu)
KERNEL[18.000002] unbind   /devices/a b(c)/d (usb)
KERNEL[18.000003] what is this
UDEV  [18.100000] add      ${PATH} (memory)
`;

const NEWS: readonly MonitorNews[] = [
  { kind: "listening" },
  { kind: "event", event: { action: "add", devpath: PATH, subsystem: "memory" } },
  { kind: "event", event: { action: "online", devpath: PATH, subsystem: "memory" } },
  { kind: "event", event: { action: "add", devpath: "/devices/system/cpu/cpu3", subsystem: "cpu" } },
  { kind: "event", event: { action: "unbind", devpath: "/devices/a b(c)/d", subsystem: "usb" } },
  { kind: "malformed" },
];

function newsOf(...pieces: readonly Uint8Array[]): readonly MonitorNews[] {
  const parser = new MonitorParser();
  const found: MonitorNews[] = [];
  for (const piece of pieces) {
    parser.append(piece);
    for (let news = parser.tryRead(); news !== undefined; news = parser.tryRead()) found.push(news);
  }
  return found;
}

describe("what udevadm monitor prints", () => {
  test("is the same news wherever it is cut", () => {
    const text = bytes(MONITOR);
    for (let at = 0; at <= text.length; at++)
      expect(newsOf(text.subarray(0, at), text.subarray(at))).toMatchObject(NEWS);
  });

  test("is the same news byte by byte", () => {
    expect(newsOf(...[...bytes(MONITOR)].map((byte) => Uint8Array.of(byte)))).toMatchObject(NEWS);
  });

  test("without its last line end has not told of the last event yet", () => {
    const text = MONITOR.slice(0, MONITOR.indexOf(" (memory)\n") + " (memory)".length);
    expect(newsOf(bytes(text))).toEqual([{ kind: "listening" }]);
    expect(newsOf(bytes(text), bytes("\n"))).toHaveLength(2);
  });

  test("is not gathered without end where no line ends", () => {
    const parser = new MonitorParser();
    parser.append(bytes("KERNEL["));
    expect(() => parser.append(new Uint8Array(LARGEST_UEVENT).fill(0x41))).toThrow(LineError);
  });
});
