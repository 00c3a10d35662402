import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { LineError, LineParser } from "../../../src/targets/qemu/line-parser.ts";

const TEXT = '{"a": "häß €"}\r\n\n{"b": 1}\nrest';

function readAll(parser: LineParser): string[] {
  const lines: string[] = [];
  for (let line = parser.tryRead(); line !== undefined; line = parser.tryRead()) lines.push(line);
  return lines;
}

describe("LineParser", () => {
  it("gives the same lines wherever the input is split", () => {
    const bytes = Buffer.from(TEXT);
    for (let at = 0; at <= bytes.length; at++) {
      const parser = new LineParser();
      parser.append(bytes.subarray(0, at));
      parser.append(bytes.subarray(at));
      expect(readAll(parser)).toEqual(['{"a": "häß €"}', "", '{"b": 1}']);
      expect(parser.pendingBytes).toBe(4);
    }
  });

  it("gives back what was joined by line ends, in pieces of any size", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: "grapheme" }).filter((text) => !/[\r\n\uFEFF]/.test(text))),
        fc.integer({ min: 1, max: 9 }),
        (lines, step) => {
          const parser = new LineParser();
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
          for (let at = 0; at < bytes.length; at += step) parser.append(bytes.subarray(at, at + step));
          expect(readAll(parser)).toEqual(lines);
        },
      ),
    );
  });

  it("accepts a line of exactly the limit and refuses one byte more", () => {
    const parser = new LineParser(8);
    parser.append(Buffer.from("12345678\n"));
    expect(parser.tryRead()).toBe("12345678");
    parser.append(Buffer.from("12345678"));
    expect(() => parser.append(Buffer.from("9"))).toThrow(LineError);
  });

  it("refuses bytes that are not UTF-8 and says how long the line was", () => {
    const parser = new LineParser();
    parser.append(Uint8Array.of(0x22, 0xff, 0x22, 0x0a));
    expect(() => parser.tryRead()).toThrow("Line of 3 bytes is not UTF-8");
  });
});
