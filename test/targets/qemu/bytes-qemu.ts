/**
 * A pretended QEMU in front of a simulated machine, for keepers that are other processes and are killed: one client at
 * a time, as QEMU has it, and every write through its gdbstub can be the keeper's last.
 */
import { writeFileSync } from "node:fs";
import type { Socket } from "node:net";

import { type PhysicalRange, rangeBytes } from "../../../src/layout/range.ts";
import type { SimulatedMachine } from "../../../src/simulation/machine.ts";
import { machineOf } from "../../simulation/sim.ts";
import { startFakeGdb } from "./fake-gdb.ts";
import { eventLine, GREETING, onCommands, startPeer } from "./fake-qmp.ts";

export interface BytesQemu extends AsyncDisposable {
  readonly path: string;
  readonly machine: SimulatedMachine;
  /** QEMU's run state, `running` or `paused` as a rule. */
  status: string;
  /** When it was stopped and started, ms of `performance.now()`. */
  readonly changes: { readonly running: boolean; readonly at: number }[];
  /** Called before each write through the stub, with its number: bytes of it that are written; undefined: all. */
  onWrite: (write: number, length: number) => number | undefined;
  /** Commands that came, in their order. */
  readonly log: string[];
  /** The filename of its gdbstub; undefined where that is closed. */
  stub: string | undefined;
}

const hex = (value: bigint): string => value.toString(16).padStart(16, "0");

function piece({ start, end }: PhysicalRange, name: string, offset: bigint): string {
  return `  ${hex(start)}-${hex(end - 1n)} (prio 0, ram): ${name} @${hex(offset)}`;
}

/** @param spec as in `sim:SPEC`, of a small machine. */
export async function startBytesQemu(spec: string): Promise<BytesQemu> {
  const machine = machineOf(spec);
  const { memory, blueprint } = machine;
  let client: Socket | undefined;
  const waiting: (() => void)[] = [];
  let gdb: Awaited<ReturnType<typeof startFakeGdb>> | undefined;
  let writes = 0;
  const setRunning = (running: boolean): void => {
    if ((qemu.status === "running") === running) return;
    qemu.status = running ? "running" : "paused";
    qemu.changes.push({ running, at: performance.now() });
    if (running) machine.resume();
    else machine.pause();
    client?.write(eventLine(running ? "RESUME" : "STOP", qemu.changes.length * 1000));
  };
  const mtree = (): string => {
    let offset = 0n;
    const boot = blueprint.backedRam.ranges.map((range) => {
      offset += rangeBytes(range);
      return piece(range, "ram0", offset - rangeBytes(range));
    });
    const dimms = machine.dimms.map(({ id, range }) => piece(range, `${id}-backend`, 0n));
    return [
      "FlatView #0",
      ' AS "memory", root: system',
      " Root memory region: system",
      ...boot,
      ...dimms,
      "",
    ].join("\r\n");
  };
  const openStub = (path: string): void => {
    qemu.stub = `disconnected:unix:${path},server=on`;
    void startFakeGdb(path, {
      attached: () => setRunning(false),
      detached: () => setRunning(true),
      react: (request) => {
        const [, kind, at = "", length = "", data = ""] =
          /^([mM])([0-9a-f]+),([0-9a-f]+)(?::([0-9a-f]*))?$/.exec(request) ?? [];
        const address = BigInt(`0x${at || "0"}`);
        if (kind === "m")
          return Buffer.from(memory.peek(address, Number.parseInt(length, 16))).toString("hex");
        if (kind !== "M") return undefined;
        const bytes = Buffer.from(data, "hex");
        const kept = qemu.onWrite(writes++, bytes.length);
        memory.poke(address, bytes.subarray(0, kept ?? bytes.length));
        return "OK";
      },
    }).then((stub) => (gdb = stub));
  };
  const monitor = (line: string): string => {
    if (line === "info mtree -f") return mtree();
    const stub = /^gdbserver unix:(.*),server=on,wait=off$/.exec(line)?.[1];
    if (stub !== undefined) {
      openStub(stub);
      return `Waiting for gdb connection on device '${line.slice(10)}'\r\n`;
    }
    if (line === "gdbserver none") {
      qemu.stub = undefined;
      void gdb?.stop();
      gdb = undefined;
      return "Disabled gdbserver\r\n";
    }
    const [, count, format, at = ""] = /^xp \/(\d+)x([bg]) 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (count === undefined) return "Block Name PSize Offset Used Total\r\n";
    const width = format === "g" ? 8 : 1;
    return Array.from({ length: Number(count) }, (_, i) => {
      const address = BigInt(`0x${at}`) + BigInt(i * width);
      const value = Buffer.from(memory.peek(address, width).toReversed()).toString("hex");
      return `${hex(address)}: 0x${value}\r\n`;
    }).join("");
  };
  const answer = (command: string, args: Readonly<Record<string, unknown>>): unknown => {
    switch (command) {
      case "qmp_capabilities":
        return {};
      case "query-status":
        return { status: qemu.status, running: qemu.status === "running" };
      case "stop":
      case "cont":
        setRunning(command === "cont");
        return {};
      case "query-chardev":
        return qemu.stub === undefined ? [] : [{ label: "gdb", filename: qemu.stub }];
      case "query-memdev":
        return [
          { id: "ram0", size: Number(blueprint.backedRam.bytes), share: false },
          ...machine.dimms.map(({ id, range }) => ({ id: `${id}-backend`, size: Number(rangeBytes(range)) })),
        ];
      case "qom-list":
        return ["ram0", ...machine.dimms.map(({ id }) => `${id}-backend`)].map((name) => ({
          name,
          type: "child<memory-backend-ram>",
        }));
      case "qom-get":
        if (args["property"] === "memory-backend") return "/objects/ram0";
        throw new Error("Property not found");
      case "query-memory-devices":
        return machine.dimms.map(({ id, range, slot }) => ({
          type: "dimm",
          data: {
            id,
            memdev: `/objects/${id}-backend`,
            addr: Number(range.start),
            size: Number(rangeBytes(range)),
            slot,
            node: 0,
            hotplugged: true,
            hotpluggable: true,
          },
        }));
      case "query-memory-size-summary":
        return {
          "base-memory": Number(blueprint.backedRam.bytes),
          "plugged-memory": Number(machine.dimms.reduce((sum, { range }) => sum + rangeBytes(range), 0n)),
        };
      case "query-hotpluggable-cpus":
        return Array.from({ length: machine.cpus.possible }, (_, cpu) => ({
          type: "max-x86_64-cpu",
          "vcpus-count": 1,
          props: { "socket-id": cpu },
          ...(cpu < machine.cpus.present ? { "qom-path": `/machine/unattached/device[${cpu}]` } : {}),
        }));
      case "pmemsave":
        writeFileSync(
          String(args["filename"]),
          memory.peek(BigInt(String(args["val"])), Number(args["size"])),
        );
        return {};
      case "human-monitor-command":
        return monitor(String(args["command-line"]));
      default:
        throw new Error(`The command ${command} has not been found`);
    }
  };
  const serve = (socket: Socket): void => {
    client = socket;
    socket.write(GREETING);
    onCommands(socket, ({ execute, arguments: args, id }) => {
      qemu.log.push(execute);
      const reply = ((): object => {
        try {
          return { return: answer(execute, args ?? {}) };
        } catch (error) {
          return { error: { class: "GenericError", desc: error instanceof Error ? error.message : "" } };
        }
      })();
      socket.write(`${JSON.stringify(id === undefined ? reply : { ...reply, id })}\r\n`);
    });
    socket.once("close", () => {
      client = undefined;
      waiting.shift()?.();
    });
  };
  const peer = await startPeer((socket) => {
    if (client === undefined) serve(socket);
    else waiting.push(() => serve(socket));
  });
  const qemu: BytesQemu = {
    path: peer.path,
    machine,
    status: "running",
    changes: [],
    onWrite: () => undefined,
    log: [],
    stub: undefined,
    [Symbol.asyncDispose]: async () => {
      await gdb?.stop().catch(() => undefined);
      await peer.stop();
    },
  };
  return qemu;
}
