import { describe, expect, test } from "vitest";
import {
  findLoads,
  findTracedLoad,
  parseJournal,
  parseSyslog,
} from "../../../src/targets/local/last-load.ts";

interface Entry {
  readonly us: number;
  readonly message?: unknown;
  readonly boot?: string;
  readonly id?: string;
}

const STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5";
/** Microseconds from 1970 to the boot. */
const BOOT_TIME = 1_760_000_000_000_000;

function journal(...entries: readonly Entry[]): string {
  return entries
    .map(({ us, message = "", boot = "b1", id }) =>
      JSON.stringify({
        __MONOTONIC_TIMESTAMP: String(us),
        __REALTIME_TIMESTAMP: String(BOOT_TIME + us),
        _BOOT_ID: boot,
        MESSAGE: message,
        ...(id === undefined ? {} : { MESSAGE_ID: id }),
      }),
    )
    .join("\n");
}

function spans(text: string): readonly string[] {
  return findLoads(parseJournal(text), 0).map(
    ({ what, ms, madeInitrd }) => `${what} ${ms}${madeInitrd ? " with initrd" : ""}`,
  );
}

/** A reload that begins at `us`. */
function once(us: number, ms: number): readonly Entry[] {
  return [
    { us, message: "unloaded kdump kernel" },
    { us: us + ms * 1000, message: "loaded kdump kernel" },
  ];
}

/** A call of kexec in kdumpctl's trace that begins at `clock`, and its end at 10:00:09. */
function call(clock: string, status: number): string {
  return `+ 2021-08-02 ${clock} /usr/bin/kdumpctl@700: /sbin/kexec -s -d -p --command-line=x --initrd=/i /k
kexec: some output
+ 2021-08-02 10:00:09 /usr/bin/kdumpctl@704: ret=${status}
`;
}

describe("the journal tells", () => {
  test("of kdumpctl's reload, from unloaded to loaded", () => {
    const text = journal(
      { us: 1_000_000, message: "kexec: unloaded kdump kernel" },
      { us: 1_010_000, message: "Stopping kdump: [OK]" },
      { us: 1_612_000, message: "kexec: loaded kdump kernel" },
      { us: 1_620_000, message: "Starting kdump: [OK]" },
    );
    expect(findLoads(parseJournal(text), 0)).toEqual([
      { what: "reload", ms: 612, resolutionMs: 0, time: "2025-10-09T08:53:21.612Z", madeInitrd: false },
    ]);
  });

  test("of kdump-config's, each word of which is written twice", () => {
    expect(
      spans(
        journal(
          { us: 0, message: "unloaded kdump kernel." },
          { us: 5000, message: "unloaded kdump kernel" },
          { us: 400_000, message: "loaded kdump kernel." },
          { us: 405_000, message: "loaded kdump kernel" },
        ),
      ),
    ).toEqual(["reload 400"]);
  });

  test("of a start, and that it made the initrd", () => {
    const start = [
      { us: 0, id: STARTING },
      { us: 9_000_000, message: "kdump: kexec: loaded kdump kernel" },
    ];
    expect(spans(journal(...start))).toEqual(["start 9000"]);
    const rebuilding = { us: 10, message: "kdump: Rebuilding /boot/initramfs-6.12kdump.img" };
    expect(spans(journal(start[0]!, rebuilding, start[1]!))).toEqual(["start 9000 with initrd"]);
  });

  test("of openSUSE's load", () => {
    expect(
      spans(
        journal(
          { us: 0, id: STARTING },
          { us: 1_000_000, message: "Starting kdump kernel load; kexec cmdline: /sbin/kexec -p /x" },
          { us: 1_700_000, message: "Loaded kdump kernel." },
        ),
      ),
    ).toEqual(["load 700", "start 1700"]);
  });

  test("of the last one of several", () => {
    expect(spans(journal(...once(0, 900), ...once(5_000_000, 300)))).toEqual(["reload 300"]);
  });

  test.each<readonly [string, readonly Entry[]]>([
    [
      "a load that failed",
      [
        { us: 0, message: "unloaded kdump kernel" },
        { us: 9, message: "kexec: failed to load kdump kernel" },
        { us: 20, message: "loaded kdump kernel" },
      ],
    ],
    [
      "two boots",
      [
        { us: 0, message: "unloaded kdump kernel" },
        { us: 9, message: "loaded kdump kernel", boot: "b2" },
      ],
    ],
    [
      "a stop, and a start by hand an hour later",
      [
        { us: 0, message: "unloaded kdump kernel" },
        { us: 3_600_000_000, message: "loaded kdump kernel" },
      ],
    ],
    [
      "a clock that went back",
      [
        { us: 10_000, message: "unloaded kdump kernel" },
        { us: 9, message: "loaded kdump kernel" },
      ],
    ],
    [
      "a service that started and loaded nothing",
      [
        { us: 0, id: STARTING },
        { us: 5, message: "no crashkernel= parameter in the kernel cmdline" },
      ],
    ],
    [
      "messages that are no text",
      [
        { us: 0, message: null },
        { us: 1, message: [108, 111] },
      ],
    ],
  ])("nothing by %s", (_name, entries) => {
    expect(spans(journal(...entries))).toEqual([]);
  });

  test("of the service's start where it was stopped before: how long it stayed so is somebody's choice", () => {
    expect(
      spans(
        journal(
          { us: 0, message: "unloaded kdump kernel" },
          { us: 60_000_000, id: STARTING },
          { us: 62_000_000, message: "loaded kdump kernel" },
        ),
      ),
    ).toEqual(["start 2000"]);
  });

  test("nothing by what is no JSON", () => {
    expect(
      parseJournal('-- No entries --\n{"MESSAGE":\n[1]\n{"MESSAGE":"x"}\n{"__MONOTONIC_TIMESTAMP":"x"}\n'),
    ).toEqual([]);
  });
});

describe("rsyslog's files tell", () => {
  test("in whole seconds, whoever called kdumpctl", () => {
    const { lines, resolutionMs } = parseSyslog(`Feb 27 18:47:28 localhost kernel: clocksource: x
Feb 27 18:47:29 localhost kdump-udev-throttler[3530]: kexec: unloaded kdump kernel
Feb 27 18:47:29 localhost kdump-udev-throttler[3530]: Stopping kdump: [OK]
Feb 27 18:47:30 localhost kdump-udev-throttler[3530]: kexec: loaded kdump kernel
Feb 27 18:47:30 localhost other[1]: unloaded kdump kernel
`);
    expect(findLoads(lines, resolutionMs)).toEqual([
      { what: "reload", ms: 1000, resolutionMs: 1000, time: "Feb 27 18:47:30", madeInitrd: false },
    ]);
  });

  test("in parts of seconds where rsyslog writes them, and of starts by systemd's words", () => {
    const { lines, resolutionMs } =
      parseSyslog(`2025-01-02T03:04:05.250000+00:00 h systemd[1]: Starting kdump-tools.service - Kernel crash dump capture service...
2025-01-02T03:04:05.300000+00:00 h systemd[1]: Starting other.service...
2025-01-02T03:04:07.500000+00:00 h kdump-tools[300]: loaded kdump kernel
`);
    expect(findLoads(lines, resolutionMs)).toMatchObject([{ what: "start", ms: 2250, resolutionMs: 0 }]);
  });

  test("of no two boots at once", () => {
    const { lines } = parseSyslog(`Dec 31 23:59:59 h kdumpctl[1]: kdump: kexec: unloaded kdump kernel
Jan  1 00:00:20 h kernel: Linux version 6.1.0
Jan  1 00:00:21 h kdumpctl[1]: kdump: kexec: loaded kdump kernel
`);
    expect(findLoads(lines, 1000)).toEqual([]);
  });

  test.each(["", "\n\n", "no log at all\n", "Foo 99 99:99:99 h kdumpctl: loaded kdump kernel\n"])(
    "nothing by %j",
    (text) => {
      expect(findLoads(parseSyslog(text).lines, 0)).toEqual([]);
    },
  );
});

test("kdumpctl's own trace tells of the last call of kexec that succeeded", () => {
  expect(findTracedLoad(call("10:00:05", 0) + call("10:00:07", 0) + call("10:00:08", 1))).toEqual({
    what: "load",
    ms: 2000,
    resolutionMs: 1000,
    time: "2021-08-02 10:00:09",
    madeInitrd: false,
  });
  expect(findTracedLoad("+ 2021-08-02 10:00:09 /usr/bin/kdumpctl@704: ret=0\n")).toBeUndefined();
});
