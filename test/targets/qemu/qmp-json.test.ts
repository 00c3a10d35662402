import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { decodeMessage } from "../../../src/targets/qemu/qmp-message.ts";
import { parseQmp, stringifyQmp } from "../../../src/targets/qemu/qmp-json.ts";

describe("QMP's JSON", () => {
  it("keeps integers exact: numbers where they fit, bigint beyond", () => {
    expect(parseQmp("[18446744073709551615, 9007199254740993, 9007199254740991, -1, 1.5, 1e3]")).toEqual([
      18446744073709551615n,
      9007199254740993n,
      9007199254740991,
      -1,
      1.5,
      1000,
    ]);
  });

  it("sends bigint as an integer", () => {
    expect(stringifyQmp({ val: 2n ** 64n - 1n, size: 4096 })).toBe(
      '{"val":18446744073709551615,"size":4096}',
    );
  });

  it("gives every 64-bit integer back", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        const small = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
        expect(parseQmp(stringifyQmp(value))).toBe(small ? Number(value) : value);
      }),
    );
  });

  it("reads the same by either parser", () => {
    const sizes = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), fc.integer());
    const replies = fc.dictionary(fc.string(), fc.oneof(sizes, fc.string(), fc.boolean(), fc.constant(null)));
    fc.assert(
      fc.property(replies, (reply) => {
        const text = stringifyQmp(reply);
        // The long number sends it to the exact one.
        expect([parseQmp(text), 2n ** 64n - 1n]).toEqual(parseQmp(`[${text}, ${2n ** 64n - 1n}]`));
      }),
    );
  });

  it("refuses to send what JSON would round", () => {
    expect(() => stringifyQmp({ val: 2 ** 53 })).toThrow("pass integers beyond 2^53 as bigint");
    expect(() => stringifyQmp({ val: Number.NaN })).toThrow("JSON has no such number");
  });

  it.each([
    ["9".repeat(100_000), "integer of 100000 digits"],
    ["1e999", "out of range"],
    ["[".repeat(1_000_000), "nests too deeply"],
    ['{"a":1', "end of object"],
    ["", "JSON value expected"],
  ])("refuses %.20s", (text, words) => {
    expect(() => parseQmp(text)).toThrow(SyntaxError);
    expect(() => parseQmp(text)).toThrow(words);
  });
});

describe("decodeMessage", () => {
  it("knows the four kinds", () => {
    expect(decodeMessage('{"QMP": {}}').kind).toBe("greeting");
    expect(decodeMessage('{"return": {}, "id": 3}')).toEqual({ kind: "result", id: 3, value: {} });
    expect(decodeMessage('{"error": {"class": "C", "desc": "D"}}')).toEqual({
      kind: "error",
      id: undefined,
      class: "C",
      desc: "D",
    });
    expect(decodeMessage('{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}')).toEqual({
      kind: "event",
      event: { event: "STOP", data: {}, timestamp: { seconds: 1, microseconds: 2 } },
    });
  });

  it.each([
    ["[]", "not a JSON object"],
    ["{}", "neither"],
    ['{"error": {"class": 1, "desc": "D"}}', "neither"],
    ['{"event": 7, "timestamp": {}}', "without a name"],
    ['{"event": "STOP"}', "without a name or time"],
    ['{"event": "STOP", "timestamp": {"seconds": "1"}}', "no time"],
    ["hello", "not JSON"],
  ])("refuses %s", (line, words) => {
    expect(() => decodeMessage(line)).toThrow(words);
  });
});
