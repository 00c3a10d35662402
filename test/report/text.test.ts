import { assert, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { jsonAddress, jsonBytes, jsonRange } from "../../src/report/json.ts";
import { columns, milliseconds, printable, seconds } from "../../src/report/text.ts";

describe("text from a guest", () => {
  it.each([
    ["6.1.0-50-cloud-amd64", "6.1.0-50-cloud-amd64"],
    ["a\u001b[31mb", "a\\u001b[31mb"],
    ["line\nline\r", "line\\u000aline\\u000d"],
    ["\u0000\u007f\u009b", "\\u0000\\u007f\\u009b"],
    ["é\u202e", "\\u00e9\\u202e"],
    ["", ""],
  ])("%j is shown as %j", (text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it("never leaves anything but printable ASCII", () => {
    assert(
      property(string({ unit: "binary" }), (text) => {
        expect(printable(text)).toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });
});

describe("columns", () => {
  it("are as wide as their widest cell and leave no spaces at the ends of lines", () => {
    const rows = [
      ["", "without us", "with us"],
      ["memory", "1 GiB", ""],
      ["a longer name", "", "3 GiB"],
    ];
    expect(columns(rows, "  ")).toBe(
      [
        "                 without us  with us",
        "  memory         1 GiB",
        "  a longer name              3 GiB",
        "",
      ].join("\n"),
    );
  });

  it("may be missing, and so may all rows", () => {
    expect(columns([["a"], ["b", "c"], []])).toBe("a\nb  c\n\n");
    expect(columns([])).toBe("");
  });
});

describe("durations", () => {
  it("have one decimal", () => {
    expect(milliseconds(1249)).toBe("1.2 ms");
    expect(milliseconds(0)).toBe("0.0 ms");
    expect(seconds(3849)).toBe("3.8 s");
  });
});

describe("JSON", () => {
  it("has addresses as hex strings and sizes as numbers where those are exact", () => {
    expect(jsonAddress(0xffff_ffff_ffff_ffffn)).toBe("0xffffffffffffffff");
    expect(jsonBytes(2n ** 53n - 1n)).toBe(2 ** 53 - 1);
    expect(jsonBytes(2n ** 53n)).toBe("9007199254740992");
    expect(jsonRange({ start: 0x1000n, end: 0x3000n })).toEqual({
      start: "0x1000",
      end: "0x3000",
      bytes: 0x2000,
    });
  });
});
