/** A pretended QEMU in front of a simulated machine: what is written to it is what its panic gives. */
import type { Socket } from "node:net";

import { type PhysicalRange, rangeBytes } from "../../../src/layout/range.ts";
import { crashMemory } from "../../../src/simulation/blueprint.ts";
import type { SimulatedMachine } from "../../../src/simulation/machine.ts";
import { buildMachine, parseSpec } from "../../../src/simulation/spec.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { type FakeGuest, type FakeGuestOptions, startFakeGuest } from "./fake-guest.ts";
import { eventLine, type Handler, Refusal } from "./fake-qmp.ts";
import { SimRamFile } from "./sim-ram-file.ts";

/** The pretended QEMU. */
export interface SimulatedQemu {
  readonly machine: SimulatedMachine;
  readonly fake: FakeGuest;
  readonly path: string;
  /** Somebody on another monitor plugs. */
  readonly plug: (size: bigint) => string;
  /** Sends an event to whoever is connected. */
  readonly event: (name: string) => void;
  readonly stop: () => Promise<void>;
}

/** Smallest machine that a kernel fits into. */
export const SMALL = "6.1,ram=209M,crash=16M";

const hex = (value: bigint): string => value.toString(16).padStart(16, "0");

function line({ start, end }: PhysicalRange, name: string, offset: bigint): string {
  return `  ${hex(start)}-${hex(end - 1n)} (prio 0, ram): ${name} @${hex(offset)}`;
}

/** How it is started. */
export interface SimulatedQemuOptions extends FakeGuestOptions {
  /** Where its boot RAM lies for all to see; without it RAM is private: it is reached by `xp` and gdbstub. */
  readonly ramFile?: string;
}

/** Listens at `options.path` for one client at a time. */
export async function startSimulatedQemu(
  spec: string = SMALL,
  { ramFile, ...options }: SimulatedQemuOptions = {},
): Promise<SimulatedQemu> {
  const machine = buildMachine(parseSpec(spec), nodeSha256);
  const { blueprint, memory } = machine;
  const file =
    ramFile === undefined
      ? undefined
      : new SimRamFile(ramFile, memory, blueprint.backedRam, crashMemory(blueprint));
  let running = true;
  const backends = new Map<string, bigint>();
  const pluggedBackends = new Map<string, string>();
  /** QEMU's names of DIMMs; ours where the guest has chosen none. */
  const names = new Map<string, string>();
  const nameOf = (id: string): string => names.get(id) ?? id;
  const idOf = (name: string): string => [...names].find(([, other]) => other === name)?.[0] ?? name;
  const backendOf = (id: string): string => pluggedBackends.get(id) ?? `${nameOf(id)}-backend`;
  const mtree = (): string => {
    let offset = 0n;
    const boot = blueprint.backedRam.ranges.map((range) => {
      offset += rangeBytes(range);
      return line(range, "ram0", offset - rangeBytes(range));
    });
    const dimms = machine.dimms.map(({ id, range }) => line(range, backendOf(id), 0n));
    return `FlatView #0\n AS "memory", root: system\n Root memory region: system\n${[...boot, ...dimms].join("\n")}\n`;
  };
  const gdb = (request: string): string | undefined => {
    const [, kind, at = "0", length = "0", data = ""] =
      /^([mM])([0-9a-f]+),([0-9a-f]+)(?::([0-9a-f]*))?$/.exec(request) ?? [];
    const address = BigInt(`0x${at}`);
    if (kind === "m") return Buffer.from(memory.peek(address, Number.parseInt(length, 16))).toString("hex");
    if (kind !== "M") return undefined;
    if (running) throw new Error(`A write to 0x${at} while the machine runs`);
    memory.poke(address, Buffer.from(data, "hex"));
    return "OK";
  };
  const handlers: Readonly<Record<string, Handler>> = {
    "query-memdev": () => [
      { id: "ram0", size: blueprint.backedRam.bytes, share: file !== undefined },
      ...machine.dimms.map(({ id, range }) => ({ id: backendOf(id), size: rangeBytes(range) })),
      ...[...backends].map(([id, size]) => ({ id, size })),
    ],
    "qom-list": ({ path }) =>
      path === "/objects"
        ? ["ram0", ...machine.dimms.map(({ id }) => backendOf(id)), ...backends.keys()].map((name) => ({
            name,
            type: `child<memory-backend-${name === "ram0" && file ? "file" : "ram"}>`,
          }))
        : machine.dimms.map(({ id }) => ({ name: nameOf(id), type: "child<pc-dimm>" })),
    "query-memory-devices": () =>
      machine.dimms.map(({ id, range, slot }) => ({
        type: "dimm",
        data: {
          id: nameOf(id),
          memdev: `/objects/${backendOf(id)}`,
          addr: range.start,
          size: rangeBytes(range),
          slot,
          node: 0,
          hotplugged: true,
          hotpluggable: true,
        },
      })),
    "query-migrate": () => ({}),
    "query-memory-size-summary": () => ({
      "base-memory": blueprint.backedRam.bytes,
      "plugged-memory": machine.dimms.reduce((sum, { range }) => sum + rangeBytes(range), 0n),
    }),
    "query-hotpluggable-cpus": () =>
      Array.from({ length: machine.cpus.possible }, (_, cpu) => ({
        type: "max-x86_64-cpu",
        "vcpus-count": 1,
        props: { "socket-id": cpu },
        ...(cpu < machine.cpus.present ? { "qom-path": `/machine/unattached/device[${cpu}]` } : {}),
      })),
    ...(file === undefined ? {} : { "qom-get": qomGet(file.path) }),
    "object-add": ({ id, size }) => {
      backends.set(String(id), BigInt(String(size)));
      return {};
    },
    "object-del": ({ id }) => {
      if (!backends.delete(String(id))) throw new Refusal("object not found");
      return {};
    },
    device_add: ({ id, memdev }) => {
      const size = backends.get(String(memdev));
      if (size === undefined) throw new Refusal("Device needs a backend");
      const own = machine.plugDimm(size);
      names.set(own, String(id));
      pluggedBackends.set(own, String(memdev));
      backends.delete(String(memdev));
      return {};
    },
    device_del: ({ id }, socket: Socket) => {
      const own = idOf(String(id));
      if (!machine.dimms.some((dimm) => dimm.id === own))
        throw new Refusal(`Device '${String(id)}' not found`);
      backends.set(backendOf(own), 0n);
      machine.unplug(own);
      setImmediate(() => {
        const data = { device: String(id), path: `/machine/peripheral/${String(id)}` };
        const timestamp = { seconds: 100, microseconds: 0 };
        socket.write(`${JSON.stringify({ event: "DEVICE_DELETED", data, timestamp })}\r\n`);
      });
      return {};
    },
  };
  const fake = await startFakeGuest({
    exclusive: true,
    silent: true,
    mtree,
    gdb,
    peek: (address, length) => memory.peek(address, length),
    ...options,
    onState: (now) => {
      running = now;
      if (now) file?.takeOver();
      if (now) machine.resume();
      else machine.pause();
      options.onState?.(now);
    },
    handlers: { ...handlers, ...options.handlers },
  });
  return {
    machine,
    fake,
    path: fake.path,
    plug: (size) => machine.plugDimm(size),
    event: (name) => {
      for (const socket of fake.connections) if (socket.writable) socket.write(eventLine(name));
    },
    stop: async () => {
      await fake.stop();
      file?.[Symbol.dispose]();
    },
  };
}

/** What QEMU says of boot RAM that lies in the file at `path`. */
function qomGet(path: string): Handler {
  return (args) => {
    if (args["path"] === "/machine" && args["property"] === "memory-backend") return "/objects/ram0";
    if (args["path"] === "/objects/ram0" && args["property"] === "mem-path") return path;
    throw new Refusal("Property not found");
  };
}
