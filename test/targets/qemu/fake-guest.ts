/** A pretended QEMU: run state, RAM map, gdbstub, pmemsave and xp over one memory. Enough for unit tests. */
import { writeFileSync } from "node:fs";
import type { Socket } from "node:net";

import { type FakeGdb, type Reaction, startFakeGdb } from "./fake-gdb.ts";
import {
  eventLine,
  type FakePeer,
  type Handler,
  type PeerOptions,
  Refusal,
  startFakeQmp,
} from "./fake-qmp.ts";

export interface FakeGuest extends FakePeer {
  readonly log: string[];
  /** Changes as the "guest" is stopped and started. */
  state: { status: string; running: boolean };
  readonly memory: Map<bigint, number>;
  /** Requests that the gdbstub has seen. */
  readonly gdbLog: () => readonly string[];
  /** Somebody says `cont` on another monitor. */
  readonly resume: () => void;
  /** Called before the stub writes. */
  onWrite: (() => void) | undefined;
}

export interface FakeGuestOptions extends PeerOptions {
  readonly status?: string;
  readonly gdb?: Reaction;
  /** Replaces or adds handlers. */
  readonly handlers?: Readonly<Record<string, Handler>>;
  readonly mtree?: () => string;
  /** What QEMU prints instead of opening its gdbstub. */
  readonly gdbserver?: string;
  /** What `info ramblock` prints; by default the older form, without addresses. */
  readonly ramblock?: string;
  /** What memory holds, in place of {@link FakeGuest.memory}; `gdb` has to answer for it too then. */
  readonly peek?: (address: bigint, length: number) => Uint8Array;
  /** Called when the "guest" stops and when it runs again. */
  readonly onState?: (running: boolean) => void;
}

const MTREE = `FlatView #0
 AS "memory", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): ram0
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000f0000-00000000000fffff (prio 0, rom): ram0 @00000000000f0000
  0000000000100000-0000000000ffffff (prio 0, ram): ram0 @0000000000100000
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
  0000000100000000-00000001001fffff (prio 0, ram): dimm0-backend
`;

/** 16 MiB of private boot RAM with the usual holes, and a private DIMM of 2 MiB at 4 GiB. */
export async function startFakeGuest(options: FakeGuestOptions = {}): Promise<FakeGuest> {
  const status = options.status ?? "running";
  const state = { status, running: status === "running" };
  const memory = new Map<bigint, number>();
  let qmpSocket: Socket | undefined;
  let gdb: FakeGdb | undefined;
  let gdbFilename: string | undefined;
  const gdbLog: string[] = [];
  let clock = 0;
  const set = (running: boolean): void => {
    if (state.running === running) return;
    state.running = running;
    state.status = running ? "running" : "paused";
    options.onState?.(running);
    clock += 250;
    qmpSocket?.write(eventLine(running ? "RESUME" : "STOP", clock));
  };
  const bytesAt = (address: bigint, length: number): Uint8Array =>
    options.peek?.(address, length) ??
    Buffer.from(Array.from({ length }, (_, index) => memory.get(address + BigInt(index)) ?? 0));

  const openGdb = (path: string): void => {
    gdbFilename = `disconnected:unix:${path},server=on`;
    void startFakeGdb(path, {
      attached: () => set(false),
      // As QEMU does: whatever the guest was before.
      detached: () => set(true),
      react: (request, socket) => {
        gdbLog.push(request);
        const write = /^M([0-9a-f]+),[0-9a-f]+:([0-9a-f]*)$/.exec(request);
        const reaction = options.gdb?.(request, socket);
        if (reaction === undefined && write?.[1] !== undefined) {
          guest.onWrite?.();
          const bytes = Buffer.from(write[2] ?? "", "hex");
          for (const [index, byte] of bytes.entries())
            memory.set(BigInt(`0x${write[1]}`) + BigInt(index), byte);
        }
        return reaction;
      },
    }).then((stub) => {
      gdb = stub;
      for (const [address, byte] of memory) stub.memory.set(address, byte);
    });
  };

  const monitor = (line: string): string => {
    if (line === "info mtree -f") return (options.mtree?.() ?? MTREE).replaceAll("\n", "\r\n");
    if (line === "info ramblock") return options.ramblock ?? "Block Name PSize Offset Used Total\r\n";
    const open = /^gdbserver unix:(.*),server=on,wait=off$/.exec(line);
    if (open !== null && options.gdbserver !== undefined) return options.gdbserver;
    if (open?.[1] !== undefined) {
      openGdb(open[1]);
      return `Waiting for gdb connection on device '${line.slice(10)}'\r\n`;
    }
    if (line === "gdbserver none") {
      gdbFilename = undefined;
      void gdb?.stop();
      return "Disabled gdbserver\r\n";
    }
    const [, count, format, at] = /^xp \/(\d+)x([bg]) 0x([0-9a-f]+)$/.exec(line) ?? [];
    if (count === undefined || at === undefined) return `unknown command: '${line}'\r\n`;
    const width = format === "g" ? 8 : 1;
    const start = BigInt(`0x${at}`);
    return Array.from({ length: Number(count) }, (_, index) => {
      const address = start + BigInt(index * width);
      const value = bytesAt(address, width).toReversed();
      // QEMU 11.1 shows low addresses with eight digits, 10 shows all with sixteen.
      return `${address.toString(16).padStart(index % 2 === 0 ? 16 : 8, "0")}: 0x${Buffer.from(value).toString("hex")}\r\n`;
    }).join("");
  };

  const handlers: Readonly<Record<string, Handler>> = {
    "query-status": (_args, socket) => {
      qmpSocket = socket;
      return { ...state };
    },
    stop: (_args, socket) => {
      qmpSocket = socket;
      set(false);
      return {};
    },
    cont: (_args, socket) => {
      qmpSocket = socket;
      set(true);
      return {};
    },
    "query-chardev": () =>
      gdbFilename === undefined ? [] : [{ label: "gdb", filename: gdbFilename, "frontend-open": true }],
    "query-memdev": () => [
      { id: "dimm0-backend", size: 0x20_0000, share: false },
      { id: "ram0", size: 0x100_0000, share: false },
    ],
    "qom-list": () => [
      { name: "ram0", type: "child<memory-backend-ram>" },
      { name: "dimm0-backend", type: "child<memory-backend-ram>" },
      { name: "type", type: "string" },
    ],
    "qom-get": (args) => {
      if (args["path"] === "/machine" && args["property"] === "memory-backend") return "/objects/ram0";
      throw new Refusal("Property not found");
    },
    "query-memory-devices": () => [
      {
        type: "dimm",
        data: { id: "dimm0", memdev: "/objects/dimm0-backend", addr: 0x1_0000_0000, size: 0x20_0000 },
      },
    ],
    "query-memory-size-summary": () => ({ "base-memory": 0x100_0000, "plugged-memory": 0x20_0000 }),
    pmemsave: (args) => {
      const { val, size, filename } = args;
      if (typeof val !== "number" || typeof size !== "number" || typeof filename !== "string")
        throw new Refusal("Bad arguments");
      writeFileSync(filename, bytesAt(BigInt(val), size), { flag: "w" });
      return {};
    },
    "human-monitor-command": (args, socket) => {
      qmpSocket = socket;
      return monitor(String(args["command-line"]));
    },
    ...options.handlers,
  };
  const peer = await startFakeQmp(handlers, options);
  const guest: FakeGuest = {
    ...peer,
    state,
    memory,
    gdbLog: () => gdbLog,
    resume: () => set(true),
    onWrite: undefined,
    stop: async () => {
      await gdb?.stop().catch(() => undefined);
      await peer.stop();
    },
  };
  return guest;
}
