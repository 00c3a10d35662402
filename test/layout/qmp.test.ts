import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LayoutError } from "../../src/layout/error.ts";
import {
  parseCanGrow,
  parseCpusFast,
  parseHotpluggableCpus,
  parseMemoryDevices,
} from "../../src/layout/qmp.ts";

const dimm = {
  type: "dimm",
  data: {
    memdev: "/objects/m0",
    hotplugged: true,
    addr: 4_294_967_296,
    hotpluggable: true,
    size: 1_073_741_824,
    slot: 0,
    node: 0,
    id: "dimm0",
  },
};

const virtioMem = {
  type: "virtio-mem",
  data: {
    id: "vm0",
    memaddr: 0x1_4000_0000n,
    "requested-size": 2_147_483_648,
    size: 1_073_741_824,
    "max-size": 17_179_869_184,
    "block-size": 2_097_152,
    node: 1,
    memdev: "/objects/vm0",
  },
};

function withData(
  device: typeof dimm | typeof virtioMem,
  fields: Readonly<Record<string, unknown>>,
): unknown {
  return [{ type: device.type, data: { ...device.data, ...fields } }];
}

/** What is thrown, whatever it is; undefined where nothing is. */
function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("parseMemoryDevices", () => {
  test("reads a DIMM", () => {
    const range = { start: 0x1_0000_0000n, end: 0x1_4000_0000n };
    expect(parseMemoryDevices([dimm])).toEqual([
      {
        kind: "dimm",
        id: "dimm0",
        range,
        region: range,
        slot: 0,
        node: 0,
        memdev: "/objects/m0",
        hotplugged: true,
        requestedSize: undefined,
        maxSize: undefined,
      },
    ]);
  });

  test("reads a virtio-mem device, whose range is what is plugged now", () => {
    const [device] = parseMemoryDevices([virtioMem]);
    expect(device).toMatchObject({
      kind: "virtio-mem",
      range: { start: 0x1_4000_0000n, end: 0x1_8000_0000n },
      region: { start: 0x1_4000_0000n, end: 0x5_4000_0000n },
      requestedSize: 0x8000_0000n,
      maxSize: 0x4_0000_0000n,
      hotplugged: undefined,
    });
  });

  test("gives no range to a virtio-mem device that has nothing plugged", () => {
    const [device] = parseMemoryDevices(withData(virtioMem, { size: 0 }));
    expect(device?.range).toBeUndefined();
    expect(device?.region).toBeDefined();
  });

  test("takes a DIMM without id, and an NVDIMM for one", () => {
    expect(parseMemoryDevices(withData(dimm, { id: undefined }))[0]?.id).toBeUndefined();
    expect(parseMemoryDevices([{ ...dimm, type: "nvdimm" }])[0]?.kind).toBe("nvdimm");
  });

  test("keeps devices of other kinds, with what can be known of where they are", () => {
    const devices = parseMemoryDevices([
      { type: "virtio-pmem", data: { memaddr: 4096, size: 4096, memdev: "/objects/p" } },
      { type: "hv-balloon", data: { memaddr: 8192, "max-size": 4096 } },
      { type: "hv-balloon", data: { "max-size": 4096 } },
      { type: "of the future", data: {} },
    ]);
    expect(devices.map(({ kind, range, region }) => [kind, range, region])).toEqual([
      ["other", { start: 4096n, end: 8192n }, { start: 4096n, end: 8192n }],
      ["other", undefined, { start: 8192n, end: 12_288n }],
      ["other", undefined, undefined],
      ["other", undefined, undefined],
    ]);
  });

  test("keeps 64-bit integers exact, and accepts an end at 2^64", () => {
    const addr = (1n << 64n) - 0x4000_0000n;
    expect(parseMemoryDevices(withData(dimm, { addr }))[0]?.range).toEqual({ start: addr, end: 1n << 64n });
    const odd = (1n << 53n) + 1n;
    expect(parseMemoryDevices(withData(dimm, { addr: odd }))[0]?.range?.start).toBe(odd);
  });

  test.each([
    [{ addr: -1 }, "query-memory-devices[0].data.addr is -1"],
    [{ addr: -1n }, "query-memory-devices[0].data.addr is -1"],
    [{ addr: 0.5 }, "query-memory-devices[0].data.addr is 0.5"],
    [{ addr: 2 ** 53 }, "query-memory-devices[0].data.addr is 9007199254740992"],
    [{ addr: 1n << 64n }, "query-memory-devices[0].data.addr is an integer of over 64 bits"],
    [{ addr: "4096" }, 'query-memory-devices[0].data.addr is "4096"'],
    [{ addr: undefined }, "query-memory-devices[0].data.addr is missing"],
    [
      { size: (1n << 64n) - 1n },
      "query-memory-devices[0].data.size is 18446744073709551615, expected at most",
    ],
    [{ size: null }, "query-memory-devices[0].data.size is null"],
    [{ slot: 1n << 60n }, "query-memory-devices[0].data.slot is 1152921504606846976"],
    [{ slot: -1 }, "query-memory-devices[0].data.slot is -1"],
    [{ node: [] }, "query-memory-devices[0].data.node is an array"],
    [{ id: 7 }, "query-memory-devices[0].data.id is 7, expected a string"],
    [{ hotplugged: "yes" }, 'query-memory-devices[0].data.hotplugged is "yes", expected true or false'],
    [{ memdev: {} }, "query-memory-devices[0].data.memdev is an object"],
  ])("refuses a DIMM with %o", (fields, message) => {
    expect(() => parseMemoryDevices(withData(dimm, fields))).toThrow(`Cannot read the layout: ${message}`);
  });

  test("refuses a virtio-mem device that has more plugged than it can have", () => {
    expect(() => parseMemoryDevices(withData(virtioMem, { size: 1n << 40n }))).toThrow(
      "query-memory-devices[0].data.size is 1099511627776, expected at most max-size 17179869184",
    );
  });

  test("refuses a virtio-mem device whose region passes 2^64", () => {
    expect(() => parseMemoryDevices(withData(virtioMem, { "max-size": (1n << 64n) - 1n }))).toThrow(
      "query-memory-devices[0].data.max-size is",
    );
  });

  test.each([
    [undefined, "query-memory-devices is missing, expected an array"],
    [{}, "query-memory-devices is an object, expected an array"],
    [[dimm, null], "query-memory-devices[1] is null, expected an object"],
    [[{ type: "dimm" }], "query-memory-devices[0].data is missing, expected an object"],
    [[{ data: {} }], "query-memory-devices[0].type is missing, expected a string"],
  ])("refuses the reply %o", (reply, message) => {
    expect(() => parseMemoryDevices(reply)).toThrow(message);
  });

  test("does not repeat a long string in its error", () => {
    const error = thrownBy(() => parseMemoryDevices("x".repeat(1_000_000)));
    expect(String(error).length).toBeLessThan(200);
  });
});

describe("parseHotpluggableCpus", () => {
  const type = "qemu64-x86_64-cpu";
  const props = { "core-id": 0, "thread-id": 0, "socket-id": 1 };

  test("tells empty slots from those that have a CPU", () => {
    const reply = [
      { props, "vcpus-count": 1, type },
      {
        props: { ...props, "socket-id": 0 },
        "vcpus-count": 1n,
        "qom-path": "/machine/unattached/device[0]",
        type,
      },
    ];
    expect(parseHotpluggableCpus(reply)).toEqual([
      { type, vcpusCount: 1, props, qomPath: undefined, present: false },
      {
        type,
        vcpusCount: 1,
        props: { ...props, "socket-id": 0 },
        qomPath: "/machine/unattached/device[0]",
        present: true,
      },
    ]);
  });

  test("takes no property for a prototype", () => {
    const hostile: unknown = JSON.parse(`[{"type": "t", "vcpus-count": 1, "props": {"__proto__": 3}}]`);
    const [cpu] = parseHotpluggableCpus(hostile);
    expect(Object.getPrototypeOf(cpu?.props)).toBe(Object.prototype);
    expect(Object.entries(cpu?.props ?? {})).toEqual([["__proto__", 3]]);
  });

  test.each([
    [[{ props, type }], "query-hotpluggable-cpus[0].vcpus-count is missing"],
    [[{ props: null, type, "vcpus-count": 1 }], "query-hotpluggable-cpus[0].props is null"],
    [[{ props, type, "vcpus-count": 1, "qom-path": 1 }], "query-hotpluggable-cpus[0].qom-path is 1"],
    [
      [{ props: { "socket-id": -1 }, type, "vcpus-count": 1 }],
      'query-hotpluggable-cpus[0].props["socket-id"] is -1, expected an integer from 0 to 2^64 - 1',
    ],
  ])("refuses the reply %o", (reply, message) => {
    expect(() => parseHotpluggableCpus(reply)).toThrow(message);
  });
});

describe("parseCpusFast", () => {
  test("gives every CPU as present, in no slot that could be filled", () => {
    const reply = [
      { "cpu-index": 0, "qom-path": "/machine/unattached/device[0]", "thread-id": 7, target: "x86_64" },
    ];
    expect(parseCpusFast(reply)).toEqual([
      {
        type: undefined,
        vcpusCount: 1,
        props: {},
        qomPath: "/machine/unattached/device[0]",
        present: true,
      },
    ]);
  });

  test("names the field that is wrong", () => {
    expect(() => parseCpusFast([{}])).toThrow("query-cpus-fast[0].qom-path is missing");
  });
});

describe("parseCanGrow", () => {
  test("is true where there are slots for memory", () => {
    expect(parseCanGrow({ size: 1 << 30, slots: 32, "max-size": 1n << 40n })).toBe(true);
    expect(parseCanGrow({ size: 1 << 30, slots: 0, "max-size": 1 << 30 })).toBe(false);
    expect(parseCanGrow({ size: 1 << 30 })).toBe(false);
  });

  test("names the field that is wrong", () => {
    expect(() => parseCanGrow({ slots: "x" })).toThrow("/machine.memory.slots is");
  });
});

test("no reply whatever makes a parser throw anything but LayoutError", () => {
  const value = fc.oneof(
    fc.anything({ withBigInt: true }),
    fc.bigInt(),
    fc.constantFrom(-1, 0.5, 2 ** 53, Number.NaN, null),
  );
  const damaged = fc
    .tuple(
      fc.constantFrom(dimm, virtioMem),
      fc.constantFrom("addr", "memaddr", "size", "max-size", "slot"),
      value,
    )
    .map(([device, field, found]) => withData(device, { [field]: found }));
  fc.assert(
    fc.property(fc.oneof(value, fc.array(value), damaged), (reply) => {
      for (const parse of [parseMemoryDevices, parseHotpluggableCpus, parseCpusFast, parseCanGrow]) {
        const error = thrownBy(() => parse(reply));
        expect(error === undefined || error instanceof LayoutError).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});
