import { afterEach, describe, expect, it, vi } from "vitest";
import { QemuMachine } from "../../../src/targets/qemu/machine.ts";
import { type FakeGuest, startFakeGuest } from "./fake-guest.ts";
import { type Handler, Refusal } from "./fake-qmp.ts";
import { PATIENCE } from "../../patience.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function open(handlers: Readonly<Record<string, Handler>>): Promise<QemuMachine> {
  return (await openBoth(handlers)).machine;
}

async function openBoth(
  handlers: Readonly<Record<string, Handler>>,
): Promise<{ readonly machine: QemuMachine; readonly fake: FakeGuest }> {
  const fake = await startFakeGuest({ handlers });
  cleanUps.push(fake.stop);
  const machine = await QemuMachine.open(fake.path, { tmpDir: fake.directory });
  cleanUps.push(async () => await machine[Symbol.asyncDispose]());
  return { machine, fake };
}

const CPU = { "qom-path": "/machine/unattached/device[0]" };
const SLOT = { type: "host-x86_64-cpu", "vcpus-count": 1, props: { "socket-id": 0 }, ...CPU };
const qom =
  (memory: () => unknown): Handler =>
  ({ path, property }) => {
    if (path === "/machine" && property === "memory") return memory();
    if (path === "/machine") return "/objects/ram0";
    throw new Refusal("Property not found");
  };

describe("the layout of a QEMU machine", () => {
  it("has its CPUs also where the machine takes no others", async () => {
    const machine = await open({
      "query-hotpluggable-cpus": () => {
        throw new Refusal("machine does not support hot-plugging CPUs");
      },
      "query-cpus-fast": () => [CPU, CPU],
    });
    const { cpus, canGrow } = await machine.layout();
    expect(cpus.map(({ present, type }) => ({ present, type }))).toEqual([
      { present: true, type: undefined },
      { present: true, type: undefined },
    ]);
    // QEMU before 7.1 does not say.
    expect(canGrow).toBeUndefined();
  });

  it("says whether memory can be added, and asks that once", async () => {
    let asked = 0;
    const machine = await open({
      "query-hotpluggable-cpus": () => [SLOT],
      "qom-get": qom(() => (asked++, { size: 0x100_0000, slots: 4 })),
    });
    expect((await machine.layout()).canGrow).toBe(true);
    expect(await machine.layout()).toMatchObject({ canGrow: true, cpus: [{ present: true }] });
    expect(asked).toBe(1);
  });
});

describe("a QEMU machine that is watched", () => {
  it("asks with a look that follows a change whether it may be paused too", async () => {
    const { machine, fake } = await openBoth({
      "query-hotpluggable-cpus": () => [SLOT],
      "query-memory-devices": () => [],
      "qom-get": qom(() => ({ size: 0x100_0000, slots: 4 })),
    });
    const permitsAsked = (): number => fake.log.splice(0).filter((line) => line === "query-migrate").length;
    let changes = 0;
    using _ = machine.onChange(() => changes++);
    await machine.layout();
    expect(permitsAsked()).toBe(0);
    fake.connections[0]?.write(
      '{"event": "ACPI_DEVICE_OST", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\n',
    );
    await vi.waitUntil(() => changes > 0, PATIENCE);
    await machine.layout();
    expect(permitsAsked()).toBe(1);
    await machine.layout();
    expect(permitsAsked()).toBe(0);
  });
});

describe("a QEMU machine that we have paused", () => {
  it("is not looked at again because it runs again, and is where somebody else has let it run", async () => {
    const { machine, fake } = await openBoth({});
    let changes = 0;
    using _ = machine.onChange(() => changes++);
    await machine.paused(async () => {});
    expect(fake.log.filter((line) => line === "stop" || line === "cont")).toEqual(["stop", "cont"]);
    expect(changes).toBe(0);
    fake.connections[0]?.write(
      '{"event": "RESUME", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\n',
    );
    await vi.waitUntil(() => changes > 0, PATIENCE);
    expect(changes).toBe(1);
  });
});

/** A slot as `query-hotpluggable-cpus` lists it. */
const slot = (socket: number, thread: number, present: boolean): unknown => ({
  type: "max-x86_64-cpu",
  "vcpus-count": 1,
  props: { "node-id": 1 - socket, "socket-id": socket, "core-id": 0, "thread-id": thread },
  ...(present ? CPU : {}),
});

describe("plugCpu", () => {
  it("takes the free slot with the lowest socket and thread, as QEMU wants it said", async () => {
    const given: unknown[] = [];
    const machine = await open({
      // QEMU lists the last slot first.
      "query-hotpluggable-cpus": () => [
        slot(1, 1, false),
        slot(1, 0, false),
        slot(0, 1, false),
        slot(0, 0, true),
      ],
      "qom-list": () => [{ name: "kdh-cpu0", type: "child<x>" }],
      device_add: (args) => (given.push(args), {}),
    });
    const added: string[] = [];
    await machine.plugCpu((id) => added.push(id));
    expect(added).toEqual(["kdh-cpu1"]);
    expect(given).toEqual([
      {
        driver: "max-x86_64-cpu",
        id: "kdh-cpu1",
        "node-id": 1,
        "socket-id": 0,
        "core-id": 0,
        "thread-id": 1,
      },
    ]);
  });

  it("says why where there is no slot, or QEMU refuses", async () => {
    const full = await open({ "query-hotpluggable-cpus": () => [slot(0, 0, true)] });
    await expect(full.plugCpu(() => undefined)).rejects.toThrow(
      "Cannot plug a CPU: all 1 slots of the guest are taken; start QEMU with a larger maxcpus",
    );
    const none = await open({
      "query-hotpluggable-cpus": () => {
        throw new Refusal("machine does not support hot-plugging CPUs");
      },
    });
    await expect(none.plugCpu(() => undefined)).rejects.toThrow(
      'Cannot plug a CPU: QEMU says "machine does not support hot-plugging CPUs"',
    );
    const refused = await open({
      "query-hotpluggable-cpus": () => [slot(0, 0, false)],
      "qom-list": () => [],
      device_add: () => {
        throw new Refusal("no");
      },
    });
    await expect(refused.plugCpu(() => undefined)).rejects.toThrow(
      'Cannot plug CPU "kdh-cpu0": QEMU says "no"',
    );
  });
});

describe("allocateDimm", () => {
  const ANSWERS: Readonly<Record<string, Handler>> = {
    "object-add": () => ({}),
    "object-del": () => ({}),
    device_add: () => ({}),
    "qom-list": () => [],
  };

  it("allocates, and plugs what was allocated: the device is told of as soon as it is there", async () => {
    const { machine, fake } = await openBoth(ANSWERS);
    const dimm = await machine.allocateDimm(1n << 27n);
    expect(fake.log.at(-1)).toBe("object-add");
    const added: string[] = [];
    await dimm.plug((id) => added.push(id));
    expect(added).toEqual(["kdh-mem0"]);
    expect(fake.log.at(-1)).toBe("device_add");
  });

  it("tells that a backend is left behind", async () => {
    const machine = await open({
      ...ANSWERS,
      "object-del": () => {
        throw new Refusal("object is in use");
      },
    });
    const dimm = await machine.allocateDimm(1n << 27n);
    await expect(dimm.free()).rejects.toThrow(
      'Backend "kdh-mem0-backend" is left behind: QEMU says "object is in use"',
    );
  });

  it("gives back what was allocated and not plugged when it is interrupted", async () => {
    const { machine, fake } = await openBoth(ANSWERS);
    await (await machine.allocateDimm(1n << 27n)).plug(() => undefined);
    await machine.allocateDimm(1n << 27n);
    // This one is not answered yet.
    const last = machine.allocateDimm(1n << 27n);
    await machine.interrupt();
    await last;
    expect(fake.log.filter((line) => line.startsWith("object-")).toSorted()).toEqual([
      ...Array.from({ length: 3 }, () => "object-add"),
      ...Array.from({ length: 2 }, () => "object-del"),
    ]);
    await expect(machine.allocateDimm(1n << 27n)).rejects.toThrow("nothing was plugged");
  });
});
