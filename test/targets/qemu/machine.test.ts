import { afterEach, describe, expect, it } from "vitest";
import { QemuMachine } from "../../../src/targets/qemu/machine.ts";
import { startFakeGuest } from "./fake-guest.ts";
import { type Handler, Refusal, SILENCE } from "./fake-qmp.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function open(handlers: Readonly<Record<string, Handler>>): Promise<QemuMachine> {
  const fake = await startFakeGuest({ handlers });
  cleanUps.push(fake.stop);
  const machine = await QemuMachine.open(fake.path, { tmpDir: fake.directory });
  cleanUps.push(async () => await machine[Symbol.asyncDispose]());
  return machine;
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

describe("plugDimm", () => {
  it("tells of the device as soon as it is there, whatever QEMU answers afterwards", async () => {
    for (const answer of [() => "nonsense", () => SILENCE]) {
      let there = false;
      const machine = await open({
        "object-add": () => ({}),
        device_add: () => ((there = true), {}),
        "qom-list": () => [],
        "query-memdev": () => [{ id: "ram0", size: 0x100_0000, share: false }],
        "query-memory-devices": (_args, socket) =>
          there ? (answer() === SILENCE ? (socket.destroy(), SILENCE) : answer()) : [],
      });
      const added: string[] = [];
      await expect(machine.plugDimm(1n << 27n, (id) => added.push(id))).rejects.toThrow(/QEMU/);
      expect(added).toEqual(["kdh-mem0"]);
    }
  });
});
