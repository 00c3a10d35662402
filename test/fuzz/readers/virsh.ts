/** Readers of what virsh prints: a guest's name and QEMU's words are in it. */
import { EventLineError, isDeviceAdded, parseEventLine } from "../../../src/targets/libvirt/event-line.ts";
import { errorLine, markIn, resultLine } from "../../../src/targets/libvirt/shell-output.ts";
import { plainJson, virshLine, VirshWordError } from "../../../src/targets/libvirt/words.ts";
import { LineError, LineParser } from "../../../src/targets/qemu/line-parser.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

const NAME = "it's a 'guest': {1}";

const events: FuzzedReader = {
  name: "virsh-events",
  corpus: [
    `event STOP at 1701234567.123456 for domain '${NAME}': <null>\n`,
    `event JOB_STATUS_CHANGE at 1.000000 for domain '${NAME}': {"id":"x","big":18446744073709551615}\n`,
    `event 'device-added' for domain '${NAME}': dimm0\nevents received: 1\n`,
  ].map(bytesOf),
  dictionary: [
    "event ",
    " at ",
    " for domain '",
    `${NAME}': `,
    "<null>",
    "1e400",
    "{",
    "[".repeat(2000),
    "\n",
  ].map(bytesOf),
  refusals: [LineError, EventLineError],
  read: (input) => {
    const lines = new LineParser();
    lines.append(input);
    for (let line = lines.tryRead(); line !== undefined; line = lines.tryRead()) {
      isDeviceAdded(line);
      const event = parseEventLine(line, NAME);
      if (event === undefined) continue;
      const { seconds, microseconds } = event.timestamp;
      promise(
        Number.isSafeInteger(seconds) && microseconds >= 0 && microseconds < 1_000_000,
        "an event at no time",
      );
      promise(event.event !== "", "an event without a name");
    }
  },
};

const shell: FuzzedReader = {
  name: "virsh-shell",
  corpus: [
    `virsh # qemu-monitor-command 7 '{"execute":"stop"}'\n{"return":{},"id":"libvirt-12"}\n\nvirsh # \n`,
    "error: Failed to suspend domain\nerror: unknown command: 'kdump-hotplug-end-12'\n",
    "virsh # \r<long line's end\n",
  ].map(bytesOf),
  dictionary: [
    "virsh # ",
    "virsh > ",
    "error: ",
    "kdump-hotplug-end-",
    "99999999999999999999",
    "\r",
    "'",
  ].map(bytesOf),
  refusals: [LineError, VirshWordError],
  read: (input) => {
    const lines = new LineParser();
    lines.append(input);
    for (let line = lines.tryRead(); line !== undefined; line = lines.tryRead()) {
      const mark = markIn(errorLine(line) ?? "");
      promise(mark === undefined || mark >= 0, "an end mark without a number");
      promise(resultLine(line, line)?.includes("\r") !== true, "an echo was taken for a result");
      const sent = virshLine("qemu-monitor-command", plainJson(JSON.stringify(line)));
      promise(/^[\x20-\x7e]*$/.test(sent), "a line for virsh has what readline would obey");
    }
  },
};

export const VIRSH_READERS: readonly FuzzedReader[] = [events, shell];
