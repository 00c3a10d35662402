/** Readers of what a guest, its kernel or its QEMU says as text or in packets. */
import { readFileSync } from "node:fs";
import { AgentParser, AgentProtocolError } from "../../../src/lab/agent.ts";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { parseMonitor } from "../../../src/lab/udev-monitor.ts";
import { LayoutError } from "../../../src/layout/error.ts";
import { crashKernel, kernelImage, parseIomem, systemRam } from "../../../src/layout/iomem.ts";
import { hotpluggableMemory, machineLayoutFromQmp } from "../../../src/layout/machine.ts";
import {
  parseCanGrow,
  parseCpusFast,
  parseHotpluggableCpus,
  parseMemoryDevices,
} from "../../../src/layout/qmp.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { parseCpuList } from "../../../src/layout/sysfs.ts";
import { parseShellAssignments, ShellFileError } from "../../../src/targets/local/shell-assignments.ts";
import { MonitorParser } from "../../../src/targets/local/udevadm-text.ts";
import { parseUevent } from "../../../src/targets/local/uevent.ts";
import { FlatViewError, parseFlatView } from "../../../src/targets/qemu/flat-view.ts";
import { encodePacket, GdbPacketParser, GdbProtocolError } from "../../../src/targets/qemu/gdb-packet.ts";
import { LineError, LineParser } from "../../../src/targets/qemu/line-parser.ts";
import { parseRamBlocks } from "../../../src/targets/qemu/qemu-process.ts";
import { QmpError } from "../../../src/targets/qemu/qmp-errors.ts";
import { parseQmp, stringifyQmp } from "../../../src/targets/qemu/qmp-json.ts";
import { decodeMessage } from "../../../src/targets/qemu/qmp-message.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

const JSON_WORDS = [
  "{",
  "}",
  "[",
  "]",
  ":",
  ",",
  '"',
  "null",
  "true",
  "-",
  "1e400",
  "1e-400",
  "18446744073709551615",
  "18446744073709551616",
  "9007199254740993",
  '"return"',
  '"id"',
  '"error"',
  '"event"',
  '"QMP"',
  '"__proto__":{}',
  '"constructor"',
  "\\u0000",
  "\\ud800",
  "\n",
  "\r\n",
  "[".repeat(2000),
].map(bytesOf);

const QMP_LINES = [
  '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}\r\n',
  '{"return": {"status": "running", "running": true}, "id": 3}\r\n',
  '{"id": 4, "error": {"class": "GenericError", "desc": "Device \'x\' not found"}}\r\n',
  '{"timestamp": {"seconds": 1732536000, "microseconds": 123456}, "event": "MEM_UNPLUG_ERROR", "data": {"device": "dimm0", "msg": "busy"}}\r\n',
].map(bytesOf);

/** Gives `input` to `take` in pieces of sizes that depend on it, as a socket does. */
function inPieces(input: Uint8Array, take: (piece: Uint8Array) => void): void {
  for (let at = 0; at < input.length;) {
    const size = 1 + ((input[at]! * 7 + at) % 97);
    take(input.subarray(at, at + size));
    at += size;
  }
}

const qmpLines: FuzzedReader = {
  name: "qmp-lines",
  corpus: [...QMP_LINES, Buffer.concat(QMP_LINES)],
  dictionary: JSON_WORDS,
  refusals: [LineError, QmpError],
  read: (input) => {
    const lines = new LineParser();
    inPieces(input, (piece) => {
      lines.append(piece);
      for (let line = lines.tryRead(); line !== undefined; line = lines.tryRead()) {
        if (line === "") continue;
        const message = decodeMessage(line);
        if (message.kind === "event") {
          const { seconds, microseconds } = message.event.timestamp;
          promise(Number.isFinite(seconds) && Number.isFinite(microseconds), "an event at no time");
        }
      }
    });
  },
};

const DEVICES = stringifyQmp([
  {
    type: "dimm",
    data: {
      memdev: "/objects/m0",
      hotplugged: true,
      addr: 0x1_0000_0000,
      size: 0x4000_0000,
      slot: 0,
      node: 0,
      id: "dimm0",
    },
  },
  {
    type: "virtio-mem",
    data: {
      id: "vm0",
      memaddr: 0x1_4000_0000,
      "requested-size": 0x8000_0000,
      size: 0x4000_0000,
      "max-size": 0x4_0000_0000,
      "block-size": 0x20_0000,
      node: 1,
      memdev: "/objects/vm0",
    },
  },
  { type: "nvdimm", data: { addr: 0xffff_ffff_0000_0000n, size: 0x1000, slot: 1, node: 0 } },
  { type: "sgx-epc", data: { memaddr: 0, size: 4096, node: 0 } },
]);
const CPUS = stringifyQmp([
  { type: "max-x86_64-cpu", "vcpus-count": 1, props: { "socket-id": 1, "core-id": 0, "thread-id": 0 } },
  {
    type: "max-x86_64-cpu",
    "vcpus-count": 1,
    props: { "socket-id": 0 },
    "qom-path": "/machine/unattached/device[0]",
  },
]);

const qmpReplies: FuzzedReader = {
  name: "qmp-replies",
  corpus: [
    DEVICES,
    CPUS,
    stringifyQmp({ base: 1, slots: 32, "max-size": 1n << 60n }),
    '[{"qom-path": "/machine/x", "cpu-index": 0}]',
  ].map(bytesOf),
  dictionary: [
    ...JSON_WORDS,
    ...['"addr"', '"size"', '"memaddr"', '"max-size"', '"dimm"', '"virtio-mem"', '"props"'].map(bytesOf),
  ],
  refusals: [LayoutError, SyntaxError],
  read: (input) => {
    const reply = parseQmp(Buffer.from(input).toString("utf8"));
    const refusals: LayoutError[] = [];
    const attempt = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        if (!(error instanceof LayoutError)) throw error;
        refusals.push(error);
      }
    };
    attempt(() => {
      const layout = machineLayoutFromQmp({
        bootRam: RangeSet.empty,
        memoryDevices: parseMemoryDevices(reply),
        hotpluggableCpus: [],
      });
      for (const { start, end } of hotpluggableMemory(layout))
        promise(0n <= start && start < end && end <= 1n << 64n, "memory beyond 64 bits");
      promise(
        hotpluggableMemory(layout).subtract(layout.backed).isEmpty,
        "memory to be described that is not backed",
      );
    });
    attempt(() => void parseHotpluggableCpus(reply));
    attempt(() => void parseCpusFast(reply));
    attempt(() => void parseCanGrow(reply));
    if (refusals.length === 4) throw refusals[0]!;
  },
};

const gdbPackets: FuzzedReader = {
  name: "gdb-packets",
  corpus: [
    Buffer.concat([bytesOf("+"), encodePacket("PacketSize=1000;qXfer:features:read+;multiprocess+")]),
    Buffer.concat([bytesOf("+"), encodePacket("OK"), bytesOf("+"), encodePacket("0011223344556677")]),
    bytesOf("$0* #7a+$E14#aa%Stop:T05thread:p01.01;#3e"),
    encodePacket(Uint8Array.from({ length: 256 }, (_, i) => i)),
  ],
  dictionary: ["$", "#", "+", "-", "%", "}", "*", "*~", "#00", "$#00", "x*~".repeat(300)].map(bytesOf),
  refusals: [GdbProtocolError],
  read: (input) => {
    const parser = new GdbPacketParser();
    let bytes = 0;
    let items = 0;
    inPieces(input, (piece) => {
      parser.append(piece);
      for (let item = parser.tryRead(); item !== undefined; item = parser.tryRead()) {
        items++;
        if (item.kind !== "packet" && item.kind !== "notification") continue;
        bytes += item.data.length;
        promise(item.data.length <= 1024 * 1024, "a packet beyond its limit");
      }
    });
    promise(items <= input.length, "more items than bytes");
    // 97 repetitions of three characters is the most that a run-length makes.
    promise(bytes <= input.length * 97, "more came out than can have been in it");
  },
};

const fixture = (name: string): Uint8Array =>
  readFileSync(new URL(`test/targets/qemu/fixtures/${name}.txt`, repository()));

/** The fuzzer runs from its own output directory as well: sources are found from where the project's package is. */
function repository(): URL {
  let directory = new URL("./", import.meta.url);
  while (!directory.pathname.endsWith("/test/")) directory = new URL("../", directory);
  const above = new URL("../", directory);
  return above.pathname.endsWith("/.bench/") ? new URL("../", above) : above;
}

const flatView: FuzzedReader = {
  name: "flat-view",
  corpus: ["numa", "q35-4g"].map(fixture),
  dictionary: [
    "FlatView #0\n",
    ' AS "memory", root: system\n',
    "0000000000000000-ffffffffffffffff",
    " @",
    "(prio 0, ram): ",
    "\n",
    "\r\n",
    "\t",
  ].map(bytesOf),
  refusals: [FlatViewError],
  read: (input) => {
    let last = 0n;
    for (const { start, end, offset } of parseFlatView(Buffer.from(input).toString("utf8"))) {
      promise(last <= start && start < end && end <= 1n << 64n, "ranges that are empty, overlap or go back");
      promise(offset >= 0n, "a negative offset");
      last = end;
    }
  },
};

const ramBlocks: FuzzedReader = {
  name: "ram-blocks",
  corpus: [fixture("ramblock-numa")],
  dictionary: ["0x", " ", "\n", "/objects/", "ffffffffffffffff"].map(bytesOf),
  refusals: [QmpError],
  read: (input) => {
    for (const { used, hostAddress } of parseRamBlocks(Buffer.from(input).toString("utf8")))
      promise(used < 1n << 64n && hostAddress < 1n << 64n, "a block beyond 64 bits");
  },
};

const IOMEM = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-3ffdbfff : System RAM
  01000000-01ffffff : Kernel code
  02000000-0247ffff : Kernel rodata
  02600000-028d8abf : Kernel data
  2f000000-3effffff : Crash kernel
100000000-107ffffff : System RAM (virtio_mem)
`;

const iomem: FuzzedReader = {
  name: "iomem",
  corpus: [bytesOf(IOMEM), bytesOf("00000000-00000000 : System RAM\n")],
  dictionary: [" : System RAM", " : Crash kernel", "ffffffffffffffff", "-", "\n", "  ", "Kernel code"].map(
    bytesOf,
  ),
  refusals: [LayoutError],
  read: (input) => {
    const entries = parseIomem(Buffer.from(input).toString("latin1"));
    systemRam(entries).subtract(crashKernel(entries));
    const kernel = kernelImage(entries);
    promise(kernel === undefined || kernel.start < kernel.end, "an empty kernel");
  },
};

const cpuList: FuzzedReader = {
  name: "cpu-list",
  corpus: ["0-3,5\n", "0\n", "0-8191\n", "\n"].map(bytesOf),
  dictionary: [",", "-", "65535", "99999", "0-65535,"].map(bytesOf),
  refusals: [LayoutError],
  read: (input) => {
    const cpus = parseCpuList(Buffer.from(input).toString("latin1"));
    promise(
      cpus.every((cpu, i) => cpu >= 0 && cpu <= 65_535 && (i === 0 || cpus[i - 1]! < cpu)),
      "CPUs that do not ascend",
    );
  },
};

const agent: FuzzedReader = {
  name: "lab-agent",
  corpus: [
    "hello guest 6.1.0-56-cloud-amd64\nreply 1 0 5\nabcd\nreply 2 127 0\n",
    "hello capture 6.12\ndone capture\n",
  ].map(bytesOf),
  dictionary: ["reply ", "hello ", "done ", "\n", " 0 ", "999999999", "16777217"].map(bytesOf),
  refusals: [AgentProtocolError],
  read: (input) => {
    const parser = new AgentParser();
    inPieces(input, (piece) => {
      parser.append(piece);
      for (let message = parser.tryRead(); message; message = parser.tryRead())
        if (message.kind === "reply")
          promise(message.output.length <= input.length, "more output than was sent");
    });
  },
};

const udevMonitor: FuzzedReader = {
  name: "udev-monitor",
  corpus: [
    bytesOf(
      "UDEV  [12.345678] online   /devices/system/memory/memory32 (memory)\nKERNEL[12.1] add      /devices/system/memory/memory33 (memory)\n",
    ),
  ],
  dictionary: ["UDEV  [", "KERNEL[", "] ", "/devices/system/memory/memory", "(memory)", "\n"].map(bytesOf),
  refusals: [MeasurementError],
  read: (input) => void parseMonitor(Buffer.from(input).toString("latin1")),
};

const uevent: FuzzedReader = {
  name: "uevent",
  corpus: [
    "online@/devices/system/memory/memory32\0ACTION=online\0DEVPATH=/devices/system/memory/memory32\0SUBSYSTEM=memory\0SEQNUM=9\0",
    "add@/devices/system/cpu/cpu3\0ACTION=add\0DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0MODALIAS=cpu:x\n\0SEQNUM=10\0",
  ].map(bytesOf),
  dictionary: ["\0", "@", "ACTION=", "DEVPATH=", "SUBSYSTEM=", "libudev\0", "memory", "cpu"].map(bytesOf),
  refusals: [],
  read: (input) => {
    const event = parseUevent(input);
    promise(
      event === undefined ||
        Buffer.from(input).toString("latin1").startsWith(`${event.action}@${event.devpath}\0`),
      "an event that its header does not tell of",
    );
  },
};

const udevadmStream: FuzzedReader = {
  name: "udevadm-stream",
  corpus: [
    bytesOf("KERNEL - the kernel uevent\n\nKERNEL[12.1] add      /devices/system/memory/memory33 (memory)\n"),
  ],
  dictionary: ["KERNEL - ", "KERNEL[", "] ", "/devices", "(memory)", "\n", "\r\n"].map(bytesOf),
  refusals: [LineError],
  read: (input) => {
    const parser = new MonitorParser();
    let news = 0;
    inPieces(input, (piece) => {
      parser.append(piece);
      while (parser.tryRead() !== undefined) news++;
    });
    promise(news * 8 <= input.length, "more news than lines");
  },
};

const shellAssignments: FuzzedReader = {
  name: "shell-assignments",
  corpus: [
    '# c\nUSE_KDUMP=1\nexport A=\'x y\'\nB="$A \\"z"\n',
    'KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1"\nKEXEC_ARGS="-s"\n',
  ].map(bytesOf),
  dictionary: ["=", '"', "'", "\\", "\\\n", "$A", "${A}", "$(", "`", "#", ";", "export "].map(bytesOf),
  refusals: [ShellFileError],
  read: (input) => void parseShellAssignments(Buffer.from(input).toString("latin1"), "a file"),
};

export const TEXT_READERS: readonly FuzzedReader[] = [
  qmpLines,
  qmpReplies,
  gdbPackets,
  flatView,
  ramBlocks,
  iomem,
  cpuList,
  agent,
  udevMonitor,
  uevent,
  udevadmStream,
  shellAssignments,
];
