import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";

import type { RemovableCpu, RemovableDimm } from "../../../src/keeper/machine.ts";
import { parseHotpluggableCpus } from "../../../src/layout/qmp.ts";
import { judgeEject } from "../../../src/targets/qemu/ospm.ts";
import { QmpClient } from "../../../src/targets/qemu/qmp.ts";
import { stringifyQmp } from "../../../src/targets/qemu/qmp-json.ts";
import { removableCpus, removableDimms } from "../../../src/targets/qemu/unplug.ts";
import { type Handler, Refusal, SILENCE, startFakeQmp } from "./fake-qmp.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

const BASE = 0x1_0000_0000;
const SIZE = 0x1000_0000;
const ANONYMOUS = "/machine/peripheral-anon";

const device = (slot: number, fields: object = {}, type = "dimm"): unknown => ({
  type,
  data: {
    id: `kdh-mem${slot}`,
    memdev: `/objects/kdh-mem${slot}-backend`,
    addr: BASE + slot * SIZE,
    size: SIZE,
    slot,
    ...fields,
  },
});

interface Fake {
  readonly qmp: QmpClient;
  readonly dimms: readonly RemovableDimm[];
  readonly log: readonly string[];
}

/** A QEMU with these devices, which does `onDelete` when it is told to delete one. */
async function open(
  devices: readonly unknown[],
  onDelete: (say: (event: string, data: object) => void, socket: Socket) => unknown = () => ({}),
  handlers: Readonly<Record<string, Handler>> = {},
): Promise<Fake> {
  const fake = await startFakeQmp({
    "query-status": () => ({ status: "running", running: true }),
    "query-memory-devices": () => devices,
    "qom-list": (args) =>
      args["path"] === ANONYMOUS
        ? [
            { name: "type", type: "string" },
            { name: "device[0]", type: "child<e1000e>" },
            { name: "device[1]", type: "child<pc-dimm>" },
            { name: "device[2]", type: "child<pc-dimm>" },
          ]
        : [],
    "qom-get": (args) => BASE + (args["path"] === `${ANONYMOUS}/device[2]` ? 1 : 5) * SIZE,
    device_del: (_args, socket) =>
      onDelete((event, data) => {
        const timestamp = { seconds: 100, microseconds: 0 };
        socket.write(`${stringifyQmp({ event, data, timestamp })}\r\n`);
      }, socket),
    "object-del": () => ({}),
    ...handlers,
  });
  cleanUps.push(fake.stop);
  const qmp = await QmpClient.connect(fake.path);
  cleanUps.push(async () => await qmp.close());
  return { qmp, dimms: await removableDimms(qmp), log: fake.log };
}

const nobody = (): void => undefined;
const ost = (status: number, fields: object = {}): object => ({
  info: { device: "kdh-mem0", slot: "0", "slot-type": "DIMM", source: 3, status, ...fields },
});

describe("DIMMs that can be removed", () => {
  it("are those that QEMU lists as such, with an id or a path, and nothing else", async () => {
    const { dimms } = await open([
      device(0),
      device(1, { id: undefined, memdev: "/objects/mem1" }),
      device(2, {}, "nvdimm"),
      device(3, { memaddr: 0, "max-size": 0, "requested-size": 0, size: 0 }, "virtio-mem"),
    ]);
    expect(dimms.map(({ name, range }) => [name, range.start, range.end])).toEqual([
      ["kdh-mem0", BigInt(BASE), BigInt(BASE + SIZE)],
      [`${ANONYMOUS}/device[2]`, BigInt(BASE + SIZE), BigInt(BASE + 2 * SIZE)],
    ]);
  });
});

describe("a removal", () => {
  it("is done when QEMU says that the device is gone", async () => {
    const asked: string[] = [];
    const { dimms, log } = await open([device(0)], (say) => {
      say("ACPI_DEVICE_OST", ost(0x84));
      say("DEVICE_DELETED", { path: "/machine/peripheral/kdh-mem0/x" });
      say("DEVICE_DELETED", { device: "kdh-mem0", path: "/machine/peripheral/kdh-mem0" });
      return {};
    });
    expect(await dimms[0]!.remove(1000, () => asked.push(log.at(-1)!))).toEqual({ answer: "removed" });
    expect(asked).toEqual(["query-status"]);
    expect(await dimms[0]!.releaseBackend()).toEqual({ fate: "deleted" });
    expect(log.slice(-2)).toEqual(["device_del", "object-del"]);
  });

  it("names a device without an id by its path, and knows its events by path and slot", async () => {
    const sent: unknown[] = [];
    const path = `${ANONYMOUS}/device[2]`;
    const anonymous = device(1, { id: undefined, memdev: "/objects/mem1" });
    const handlers = (events: (say: (event: string, data: object) => void) => void): Handler => {
      return (args, socket) => {
        sent.push(args["id"]);
        events((event, data) => {
          const timestamp = { seconds: 100, microseconds: 0 };
          socket.write(`${stringifyQmp({ event, data, timestamp })}\r\n`);
        });
        return {};
      };
    };
    const gone = await open([anonymous], undefined, {
      device_del: handlers((say) => {
        say("ACPI_DEVICE_OST", ost(0x82));
        say("ACPI_DEVICE_OST", ost(0x82, { device: undefined, slot: "7" }));
        say("DEVICE_DELETED", { path });
      }),
    });
    expect(await gone.dimms[0]!.remove(1000, nobody)).toEqual({ answer: "removed" });
    const stays = await open([anonymous], undefined, {
      device_del: handlers((say) => say("ACPI_DEVICE_OST", ost(0x82, { device: undefined, slot: "1" }))),
    });
    expect(await stays.dimms[0]!.remove(1000, nobody)).toMatchObject({ answer: "refused" });
    expect(sent).toEqual([path, path]);
  });

  it.each([
    ["by the guest's ACPI", "ACPI_DEVICE_OST", ost(0x82), /it is busy: .*0x82/],
    ["with a status without a name", "ACPI_DEVICE_OST", ost(0x77), /no name \(ACPI status 0x77\)/],
    ["by QEMU", "MEM_UNPLUG_ERROR", { device: "kdh-mem0", msg: "no such luck" }, /"no such luck"/],
    [
      "by newer QEMU",
      "DEVICE_UNPLUG_GUEST_ERROR",
      { device: "kdh-mem0", path: "/machine/peripheral/kdh-mem0" },
      /DEVICE_UNPLUG_GUEST_ERROR/,
    ],
  ])("that is refused %s says why", async (_by, event, data, words) => {
    const { dimms } = await open([device(0)], (say) => {
      say("ACPI_DEVICE_OST", ost(0x84));
      say(event, data);
      return {};
    });
    const answer = await dimms[0]!.remove(1000, nobody);
    expect(answer).toMatchObject({ answer: "refused", reason: expect.stringMatching(words) });
  });

  it("is not decided by what is about other devices, or makes no sense", async () => {
    const { dimms } = await open([device(0), device(1)], (say) => {
      say("ACPI_DEVICE_OST", ost(0x82, { device: "kdh-mem1", slot: "1" }));
      say("ACPI_DEVICE_OST", ost(0x82, { source: 1 }));
      say("ACPI_DEVICE_OST", ost(0x82, { source: 0x103 }));
      say("ACPI_DEVICE_OST", ost(0x82, { "slot-type": "CPU" }));
      say("ACPI_DEVICE_OST", { info: "busy" });
      say("ACPI_DEVICE_OST", ost(0));
      say("DEVICE_DELETED", { device: "kdh-mem1", path: "/machine/peripheral/kdh-mem1" });
      say("DEVICE_DELETED", { device: 7 });
      say("MEM_UNPLUG_ERROR", { device: "kdh-mem1", msg: "x" });
      return {};
    });
    expect(await dimms[0]!.remove(50, nobody)).toEqual({
      answer: "pending",
      reason:
        "the guest has taken the request up and not finished within 0.05 s; it may still give it up later",
    });
  });

  it("that nobody answers to is told as such", async () => {
    const { dimms } = await open([device(0)]);
    expect(await dimms[0]!.remove(50, nobody)).toMatchObject({
      answer: "pending",
      reason: expect.stringMatching(/^the guest has said nothing within 0.05 s/),
    });
  });

  it("is not asked of a guest that stands still", async () => {
    const status = { status: "paused", running: false };
    const { dimms, log } = await open([device(0)], undefined, { "query-status": () => status });
    const answer = await dimms[0]!.remove(50, () => expect.unreachable());
    expect(answer).toMatchObject({ answer: "refused", reason: expect.stringMatching(/"paused"/) });
    expect(log).not.toContain("device_del");
  });

  it("that QEMU does not take is told in its words", async () => {
    const { dimms } = await open([device(0)], () => {
      throw new Refusal("Device kdh-mem0 is already in the process of unplug");
    });
    expect(await dimms[0]!.remove(1000, nobody)).toMatchObject({
      answer: "refused",
      reason: expect.stringMatching(/already in the process/),
    });
  });

  it("of a guest that is lost meanwhile is a loss", async () => {
    for (const silent of [true, false]) {
      const { dimms } = await open([device(0)], (_say, socket) => {
        if (silent) return (socket.destroy(), SILENCE);
        setTimeout(() => socket.destroy(), 20);
        return {};
      });
      await expect(dimms[0]!.remove(1000, nobody)).rejects.toMatchObject({ machineLost: true });
    }
  });
});

const slot = (number: number, path?: string): object => ({
  type: "max-x86_64-cpu",
  "vcpus-count": 1,
  props: { "socket-id": number },
  ...(path === undefined ? {} : { "qom-path": path }),
});
const said = (status: number, fields: object = {}): object =>
  ost(status, { device: "kdh-cpu0", slot: "2", "slot-type": "CPU", ...fields });

describe("CPUs", () => {
  const SLOTS = [
    slot(3),
    slot(2, "/machine/peripheral/kdh-cpu0"),
    slot(1, "/machine/peripheral-anon/device[0]"),
    slot(0, "/machine/unattached/device[0]"),
  ];
  const cpusOf = async (
    ...[onDelete, handlers]: [Parameters<typeof open>[1]?, Parameters<typeof open>[2]?]
  ): Promise<{ readonly cpus: readonly RemovableCpu[]; readonly log: readonly string[] }> => {
    const { qmp, log } = await open([], onDelete, handlers);
    return { cpus: removableCpus(qmp, parseHotpluggableCpus(SLOTS)), log };
  };

  it("that are there are listed, and those without an id with the reason why they stay", async () => {
    const { cpus } = await cpusOf();
    const noId = expect.stringMatching(/^it has no id/);
    expect(cpus.map(({ kind, name, fixed }) => ({ kind, name, fixed }))).toEqual([
      { kind: "cpu", name: "kdh-cpu0", fixed: undefined },
      { kind: "cpu", name: "/machine/peripheral-anon/device[0]", fixed: noId },
      { kind: "cpu", name: "/machine/unattached/device[0]", fixed: noId },
    ]);
  });

  it.each([
    ["its APIC, which is all that QEMU 10.0 says", { path: "/machine/peripheral/kdh-cpu0/lapic" }],
    ["it", { device: "kdh-cpu0", path: "/machine/peripheral/kdh-cpu0" }],
  ])("are gone when QEMU says so of %s, and not for what is said of others", async (_what, gonePath) => {
    const gone = await cpusOf((say) => {
      say("ACPI_DEVICE_OST", said(0x82, { device: "kdh-cpu1" }));
      say("ACPI_DEVICE_OST", said(0x82, { "slot-type": "DIMM" }));
      say("ACPI_DEVICE_OST", said(0x84));
      say("ACPI_DEVICE_OST", said(0, { device: undefined }));
      say("DEVICE_DELETED", { path: "/machine/peripheral/kdh-cpu00/lapic" });
      say("MEM_UNPLUG_ERROR", { path: "/machine/peripheral/kdh-cpu0/lapic" });
      say("DEVICE_DELETED", gonePath);
      return {};
    });
    expect(await gone.cpus[0]!.remove(1000, nobody)).toEqual({ answer: "removed" });
    expect(gone.log.slice(-2)).toEqual(["query-status", "device_del"]);
  });

  it("stay where the guest or QEMU refuses", async () => {
    const busy = await cpusOf((say) => (say("ACPI_DEVICE_OST", said(0x82)), {}));
    expect(await busy.cpus[0]!.remove(1000, nobody)).toEqual({
      answer: "refused",
      reason: "the guest refused: it is busy (ACPI status 0x82)",
    });
    const boot = await cpusOf(() => {
      throw new Refusal("Boot CPU is unpluggable");
    });
    expect(await boot.cpus[0]!.remove(1000, nobody)).toMatchObject({
      answer: "refused",
      reason: expect.stringContaining('QEMU says "Boot CPU is unpluggable"'),
    });
    const silent = await cpusOf();
    expect(await silent.cpus[0]!.remove(50, nobody)).toMatchObject({ answer: "pending" });
  });
});

describe("a backend", () => {
  it.each([
    ["under another name", { memdev: "/objects/mem0" }],
    ["of a DIMM with another name", { id: "dimm0", memdev: "/objects/dimm0-backend" }],
    ["that is another DIMM's", { memdev: "/objects/kdh-mem1-backend" }],
    ["that QEMU does not name", { memdev: undefined }],
  ])("%s is left", async (_what, fields) => {
    const { dimms, log } = await open([device(0, fields)]);
    expect(await dimms[0]!.releaseBackend()).toMatchObject({ fate: "left" });
    expect(log).not.toContain("object-del");
  });

  it("that QEMU does not delete is left, and named", async () => {
    const { dimms } = await open([device(0)], undefined, {
      "object-del": () => {
        throw new Refusal("object 'kdh-mem0-backend' is in use, can not be deleted");
      },
    });
    expect(await dimms[0]!.releaseBackend()).toMatchObject({
      fate: "left",
      reason: expect.stringMatching(/"kdh-mem0-backend" is left behind: .*in use/),
    });
  });
});

describe("the status of an ejection", () => {
  it("is done, under way, or refused with a reason", () => {
    expect(judgeEject(0, "DIMM")).toEqual({ progress: "done" });
    expect(judgeEject(0x84, "CPU")).toEqual({ progress: "under-way" });
    const reasons = [1, 2, 0x80, 0x81, 0x82, 0x83, 0xdead].map((status) => judgeEject(status, "DIMM"));
    expect(reasons.every(({ progress }) => progress === "refused")).toBe(true);
    expect(new Set(reasons.map((each) => JSON.stringify(each))).size).toBe(reasons.length);
    expect(judgeEject(0x82, "CPU")).toEqual({
      progress: "refused",
      reason: "the guest refused: it is busy (ACPI status 0x82)",
    });
  });
});
