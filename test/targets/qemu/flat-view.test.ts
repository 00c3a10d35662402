import { readFileSync } from "node:fs";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { FlatViewError, parseFlatView } from "../../../src/targets/qemu/flat-view.ts";

/** Real output of QEMU 10.0.2's `info mtree -f`, without its port ranges. */
const fixture = (name: string): string =>
  readFileSync(new URL(`fixtures/${name}.txt`, import.meta.url), "utf8");

const show = (name: string): readonly string[] =>
  parseFlatView(fixture(name))
    .filter((range) => range.kind === "ram")
    .map(
      ({ start, end, name: block, offset, priority }) =>
        `${start.toString(16)}-${end.toString(16)} ${block}@${offset.toString(16)} ${priority}`,
    );

describe("parseFlatView on real output", () => {
  it("reads a q35 of 2 GiB before its firmware has run", () => {
    expect(show("q35-2g")).toEqual(["0-c0000 ram0@0 0", "100000-80000000 ram0@100000 0"]);
  });

  it("reads a q35 of 4 GiB with two DIMMs: 2 GiB below 4 GiB, the rest above", () => {
    expect(show("q35-4g")).toEqual([
      "0-c0000 ram0@0 0",
      "100000-80000000 ram0@100000 0",
      "100000000-180000000 ram0@80000000 0",
      "180000000-1c0000000 m1@0 0",
      "1c0000000-1e0000000 m2@0 0",
    ]);
  });

  it("reads a pc of 4 GiB: 3 GiB below", () => {
    expect(
      show("pc-4g")
        .filter((line) => line.includes("pc.ram"))
        .at(-1),
    ).toBe("100000000-140000000 pc.ram@c0000000 0");
  });

  it("reads the pieces that PAM registers and VGA leave after the firmware has run", () => {
    expect(show("q35-vga")).toEqual([
      "0-a0000 pc.ram@0 0",
      "ca000-cd000 pc.ram@ca000 0",
      "e4000-f0000 pc.ram@e4000 0",
      "100000-80000000 pc.ram@100000 0",
      "fd000000-fe000000 vga.vram@0 1",
    ]);
    const shadow = parseFlatView(fixture("q35-vga")).find((range) => range.start === 0xf0000n);
    expect(shadow).toMatchObject({ kind: "rom", name: "pc.ram", offset: 0xf0000n });
  });

  it("follows max-ram-below-4g, which no rule would have guessed", () => {
    expect(show("pc-vga")).toContain("100000000-180000000 pc.ram@40000000 0");
  });

  it("reads NUMA nodes with a backend each, and shows ivshmem's BAR at priority 1", () => {
    expect(show("numa").slice(-3)).toEqual([
      "100000-40000000 n0@100000 0",
      "40000000-80000000 n1@0 0",
      "fd000000-fe000000 iv@0 1",
    ]);
  });

  it("reads another address space when it is named", () => {
    expect(parseFlatView(fixture("q35-4g"), "device-memory").map((range) => range.name)).toEqual([
      "m1",
      "m2",
    ]);
    expect(parseFlatView(fixture("q35-4g"), "mch")).toEqual([]);
  });
});

const VIEW = 'FlatView #0\n AS "memory", root: system\n Root memory region: system\n';

describe("parseFlatView on made-up output", () => {
  it("drops the accelerator's name and knows non-volatile RAM", () => {
    const text = `${VIEW}  0000000000000000-00000000000fffff (prio 0, nv-ram): a b @0000000000001000 KVM\r\n`;
    expect(parseFlatView(text)).toEqual([
      {
        start: 0n,
        end: 0x100000n,
        kind: "ram",
        nonVolatile: true,
        priority: 0,
        name: "a b",
        offset: 0x1000n,
      },
    ]);
  });

  it("reads the last address of all", () => {
    const text = `${VIEW}  fffffffffffff000-ffffffffffffffff (prio -1, i/o): x\n`;
    expect(parseFlatView(text)[0]).toMatchObject({ end: 2n ** 64n, priority: -1 });
  });

  it.each([
    ["", "Cannot find address space"],
    ["unknown command: 'info mtree'\r\n", "Cannot find address space"],
    [`${VIEW}  0000-1111 (prio 0, ram): x\n`, "Cannot read line 4"],
    [`${VIEW}  0000000000001000-00000000000000ff (prio 0, ram): x\n`, "empty, overlaps or goes back"],
    [
      `${VIEW}  0000000000000000-0000000000000fff (prio 0, ram): x\n  0000000000000800-0000000000001fff (prio 0, ram): x\n`,
      "Line 5",
    ],
  ])("refuses %j", (text, words) => {
    expect(() => parseFlatView(text)).toThrow(words);
  });

  it("either reads or refuses any text, with its own error", () => {
    const parts = [
      "FlatView #1",
      ' AS "memory", root: system',
      "  No rendered FlatView",
      "  00",
      "\n",
      "\r\n",
      ": x",
    ];
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constantFrom(...parts), fc.string())), (pieces) => {
        let thrown: unknown;
        try {
          parseFlatView(pieces.join(""));
        } catch (error) {
          thrown = error;
        }
        expect(thrown === undefined || thrown instanceof FlatViewError).toBe(true);
      }),
    );
  });
});
