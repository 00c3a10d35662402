/** Readers of option values, shared by the commands. */
import { InvalidArgumentError, Option } from "commander";
import { MEMORY_BLOCK } from "../keeper/plug.ts";
import { formatBytes, halfOpen, type PhysicalRange } from "../layout/range.ts";
import { RangeSet } from "../layout/range-set.ts";
import type { LocateHints } from "../image/locate.ts";

const UNITS: Readonly<Record<string, bigint>> = {
  "": 1n,
  K: 1n << 10n,
  M: 1n << 20n,
  G: 1n << 30n,
  T: 1n << 40n,
};

/** `512M`, `2G`: bytes. */
export function parseSize(text: string): bigint {
  const match = /^(\d{1,12})([KMGT]?)(?:iB)?$/i.exec(text);
  const bytes = match ? BigInt(match[1]!) * UNITS[match[2]!.toUpperCase()]! : 0n;
  if (bytes === 0n) throw new InvalidArgumentError("expected a size such as 512M or 2G");
  return bytes;
}

/** The size of a DIMM: what Linux can use, so that nothing is plugged in vain. */
export function parseDimmSize(text: string): bigint {
  const bytes = parseSize(text);
  if (bytes % MEMORY_BLOCK !== 0n)
    throw new InvalidArgumentError(
      `expected a multiple of ${formatBytes(MEMORY_BLOCK)}: Linux adds memory in blocks of that size`,
    );
  return bytes;
}

/** The size of a guest's RAM. */
export function parseRamSize(text: string): bigint {
  const bytes = parseSize(text);
  if (bytes % (1n << 20n) !== 0n) throw new InvalidArgumentError("expected whole MiB");
  return bytes;
}

/** A whole number from 1 on. */
export function parseCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count === 0) throw new InvalidArgumentError("expected a whole number from 1 on");
  return count;
}

/** `60`, `0.5`: seconds, as milliseconds. */
export function parseSeconds(text: string): number {
  const ms = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Math.round(Number(text) * 1000) : 0;
  if (ms === 0) throw new InvalidArgumentError("expected seconds such as 60 or 0.5");
  return ms;
}

/** `2026-11-29T05:10:00Z`, without a zone in local time, or `@1764393000`: ms since 1970. */
export function parseTime(text: string): number {
  const seconds = /^@(\d{1,12}(?:\.\d{1,9})?)$/.exec(text)?.[1];
  if (seconds !== undefined) return Math.floor(Number(seconds) * 1000);
  const [, day, clock = "T00:00", zone = ""] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text) ?? [];
  const time = day === undefined ? Number.NaN : Date.parse(`${day}T${clock.replace(/^T/, "")}${zone}`);
  if (Number.isNaN(time))
    throw new InvalidArgumentError(
      "expected a time such as 2026-11-29T05:10:00Z, 2026-11-29 05:10 in local time, or @ and seconds since 1970",
    );
  return time;
}

/** `0x2f000000`. */
export function parseAddress(text: string): bigint {
  if (!/^0x[0-9a-f]{1,16}$/i.test(text))
    throw new InvalidArgumentError("expected an address in hex such as 0x2f000000");
  return BigInt(text);
}

/** `0x2f000000-0x3f000000`, end exclusive. */
export function parseRange(text: string): PhysicalRange {
  const [start, end, ...rest] = text.split("-");
  if (start === undefined || end === undefined || rest.length > 0) {
    throw new InvalidArgumentError("expected a range such as 0x2f000000-0x3f000000, end exclusive");
  }
  const range = { start: parseAddress(start), end: parseAddress(end) };
  if (range.start >= range.end)
    throw new InvalidArgumentError("expected a range whose end lies behind its start");
  return halfOpen(range.start, range.end);
}

/** How a guest's memory is reached. */
export interface ReachOptions {
  readonly throughQemu?: true;
}

export function throughQemuOption(): Option {
  return new Option(
    "--through-qemu",
    "qmp only: reach the guest's memory by QEMU's monitor and gdbstub alone, not by its files or QEMU's own memory",
  );
}

/** Where to look, for those who know. */
export interface WhereOptions {
  readonly headerAddress?: bigint;
  readonly crashMemory?: PhysicalRange;
}

export function headerAddressOption(): Option {
  return new Option(
    "--header-address <address>",
    "the core header's physical address (default: found by scanning)",
  ).argParser(parseAddress);
}

export function crashMemoryOption(): Option {
  return new Option(
    "--crash-memory <start-end>",
    "where the header is searched (default: all RAM)",
  ).argParser(parseRange);
}

/** Where the local machine's files are. */
export interface RootOptions {
  readonly root?: string;
}

export function rootOption(): Option {
  return new Option(
    "--root <dir>",
    "local only: a directory with a machine's /proc and /sys (default: this machine's own)",
  );
}

export function captureKernelOption(): Option {
  return new Option(
    "--kernel <file>",
    "local only: the capture kernel, for loads in full (default: the distribution's configuration)",
  );
}

export function captureInitrdOption(): Option {
  return new Option("--initrd <file>", "local only: its initrd");
}

export function captureCommandLineOption(): Option {
  return new Option("--command-line <text>", "local only: its command line, without elfcorehdr=");
}

/** Whether the machine's policy is looked at too. */
export interface PolicyOptions {
  readonly policy?: true;
}

export function policyOption(): Option {
  return new Option(
    "--policy",
    "local only: say also what the installed udev rules, kdump service and kernel would do on the next event",
  );
}

export function jsonOption(): Option {
  return new Option("--json", "print one JSON document");
}

export function hintsOf(options: WhereOptions): LocateHints {
  return {
    headerAddress: options.headerAddress,
    crashMemory: options.crashMemory && RangeSet.of([options.crashMemory]),
  };
}

/** A reader of one more of an option that may be repeated; completion asks it for `choices`. */
export type OneOf<T extends string> = ((text: string, before?: readonly T[]) => readonly T[]) & {
  readonly choices: readonly T[];
};

export function oneOf<T extends string>(names: readonly T[]): OneOf<T> {
  const read = (text: string, before: readonly T[] = []): readonly T[] => {
    const known = names.find((name) => name === text);
    if (known === undefined) throw new InvalidArgumentError(`expected one of ${names.join(", ")}`);
    return [...before, known];
  };
  return Object.assign(read, { choices: names });
}

/** What a reader made by {@link oneOf} takes; undefined for any other. */
export function choicesOf(reader: unknown): readonly string[] | undefined {
  if (typeof reader !== "function" || !("choices" in reader) || !Array.isArray(reader.choices))
    return undefined;
  return reader.choices.map(String);
}

/** How the lab's guests run, and what of them is given by hand. */
export interface SuppliesOptions {
  readonly accel: "auto" | "kvm" | "tcg";
  readonly qemu?: string;
  readonly busybox?: string;
  readonly kexec?: string;
}

export function accelOption(): Option {
  return new Option("--accel <name>", "how QEMU runs the guest")
    .choices(["auto", "kvm", "tcg"])
    .default("auto");
}

export function qemuOption(): Option {
  return new Option("--qemu <file>", "qemu-system-x86_64");
}

export function busyboxOption(): Option {
  return new Option("--busybox <file>", "a static busybox");
}

export function kexecOption(): Option {
  return new Option("--kexec <file>", "kexec of kexec-tools");
}
