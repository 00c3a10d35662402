import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { encodePacket, type GdbItem, GdbPacketParser } from "../../../src/targets/qemu/gdb-packet.ts";

function itemsOf(...pieces: (string | Uint8Array)[]): GdbItem[] {
  const parser = new GdbPacketParser();
  const items: GdbItem[] = [];
  for (const piece of pieces) {
    parser.append(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
    for (let item = parser.tryRead(); item !== undefined; item = parser.tryRead()) items.push(item);
  }
  return items;
}

function withSum(body: string): string {
  const sum = Buffer.from(body, "latin1").reduce((total, byte) => (total + byte) % 256, 0);
  return `$${body}#${sum.toString(16).padStart(2, "0")}`;
}

const text = (item: GdbItem | undefined): string | undefined =>
  item !== undefined && "data" in item ? Buffer.from(item.data).toString("latin1") : undefined;

describe("encodePacket", () => {
  it("frames with the checksum that the manual's example has", () => {
    expect(Buffer.from(encodePacket("OK")).toString()).toBe("$OK#9a");
    expect(Buffer.from(encodePacket("m0,8")).toString()).toBe(withSum("m0,8"));
  });

  it("escapes the four special bytes", () => {
    expect(Buffer.from(encodePacket("}#$*")).toString("latin1")).toBe(withSum("}]}\x03}\x04}\n"));
  });

  it("is undone by the parser, split anywhere", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (data) => {
        const frame = encodePacket(data);
        for (let at = 0; at <= frame.length; at++) {
          expect(itemsOf(frame.subarray(0, at), frame.subarray(at))).toEqual([{ kind: "packet", data }]);
        }
      }),
    );
  });
});

describe("GdbPacketParser", () => {
  it("reads acks, packets and notifications in one stream", () => {
    const items = itemsOf(`+${withSum("PacketSize=1000")}-%Stop:T05#${(0x1d9).toString(16).slice(-2)}`);
    expect(items.map((item) => item.kind)).toEqual(["ack", "packet", "nak", "corrupt"]);
    const stop = withSum("Stop:T05").replace("$", "%");
    expect(itemsOf(stop)).toEqual([{ kind: "notification", data: new Uint8Array(Buffer.from("Stop:T05")) }]);
  });

  it("unfolds run-lengths", () => {
    // The manual's example: `0* ` is "0000".
    expect(text(itemsOf(withSum("0* "))[0])).toBe("0000");
    expect(text(itemsOf(withSum("a0*~b"))[0])).toBe(`a${"0".repeat(98)}b`);
    // A run of an escaped byte repeats what the escape stands for.
    expect(text(itemsOf(withSum("}\x03* "))[0])).toBe("####");
  });

  it("reports a wrong or senseless checksum as corrupt and reads on", () => {
    const items = itemsOf("$OK#9b$OK#zz", withSum("E01"));
    expect(items.map((item) => item.kind)).toEqual(["corrupt", "corrupt", "packet"]);
    expect(items[0]).toMatchObject({ reason: 'checksum "9b", counted 9a' });
  });

  it("takes a packet that begins inside another for the end of the first", () => {
    const items = itemsOf("$m0,", withSum("OK"));
    expect(items.map((item) => item.kind)).toEqual(["corrupt", "packet"]);
  });

  it.each([
    [withSum("* "), "begins with a run-length"],
    [withSum("0*"), "ends inside a run-length"],
    [withSum("0*\x01"), "not printable"],
    [withSum("}"), "ends inside an escape"],
    [withSum("x*~".repeat(12_000)), "unfolds to more than"],
    [`$${"x".repeat(200_000)}`, "longer than"],
    ["x".repeat(2000), "no gdbstub"],
  ])("refuses %.12s", (bytes, words) => {
    expect(() => itemsOf(bytes)).toThrow(words);
  });
});
