/** What is compared of a case: what the guest's udev says, and what our engine says of the same device. */
import { dialectOf, type SystemdVersion } from "../../src/rules/dialect.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import type { UdevEvent } from "../../src/rules/event.ts";
import type { Outcome } from "../../src/rules/outcome.ts";
import { NOTHING_KNOWN, type ProgramResult, type World } from "../../src/rules/world.ts";
import { recordedProgram } from "../rules/udevadm-252.ts";
import { type FileTree, normalize, sysfsDevice } from "./sysfs-device.ts";
import { type DeviceState, STUBS, type TestCase, type TestResult } from "./udevadm-guest.ts";
import type { AttributeWrite } from "./udevadm-output.ts";

/** The guest, as far as it decides what rules do. */
export interface Surroundings {
  readonly version: SystemdVersion;
  /** CONST{virt}. */
  readonly virt: "kvm" | "qemu";
  /** The device and what is around it, before the case. */
  readonly look: FileTree;
}

/** What is compared. */
export interface Said {
  readonly properties: Readonly<Record<string, string>>;
  readonly tags: readonly string[];
  readonly run: readonly string[];
  /** What PROGRAM and IMPORT{program} called; of 247, which does not log it, only our stubs. */
  readonly programs: readonly string[];
  /** None of 247, which does not log them. */
  readonly writes: readonly AttributeWrite[] | undefined;
  /** Before, and after. */
  readonly states: readonly [DeviceState, DeviceState];
}

/** What udev says. */
export function said({ outcome, before, state, called }: TestResult, version: SystemdVersion): Said {
  const states = [before, state] as const;
  if (version === 247) return { ...outcome, programs: called, writes: undefined, states };
  return { ...outcome, states };
}

/** What we say. */
export function evaluated(one: TestCase, surroundings: Surroundings): Said {
  const { version, look } = surroundings;
  const device = sysfsDevice(look, one.devpath);
  const event: UdevEvent = { action: one.action, device, seqnum: 0 };
  const set = RuleSet.parse(one.rules, dialectOf(version));
  const outcome = set.evaluate(event, { world: worldOf(one, surroundings) });
  const properties = new Map<string, string | undefined>([
    ...device.properties,
    ["ACTION", one.action],
    ["DEVPATH", device.devpath],
    ["SUBSYSTEM", device.subsystem],
    ...outcome.changed,
  ]);
  const writes = outcome.actions.flatMap((action) =>
    action.kind === "attribute" ? [{ file: action.file, value: action.value }] : [],
  );
  return {
    properties: Object.fromEntries([...properties].flatMap(([k, v]) => (v === undefined ? [] : [[k, v]]))),
    tags: [...outcome.tags].sort(),
    run: runList(outcome, version),
    programs: programsOf(outcome, version),
    writes: version === 247 ? undefined : writes,
    states: [one.state, version === 257 ? one.state : stateAfter(one, writes)],
  };
}

function programsOf({ actions }: Outcome, version: SystemdVersion): readonly string[] {
  const commands = actions.flatMap((action) => (action.kind === "program" ? [action.command] : []));
  if (version === 247) return commands.filter((command) => STUBS.some((path) => command.startsWith(path)));
  // What is empty is not started; 257 says that it skips it.
  return version === 252 ? commands.filter((command) => command !== "") : commands;
}

function runList({ run }: Outcome, version: SystemdVersion): readonly string[] {
  // Up to 252 the test mode prints no more of a command than its buffer holds; udevd does not print it.
  return run.map(({ kind, command }) => (version === 257 ? `${kind} ${command}` : command.slice(0, 1023)));
}

function stateAfter({ devpath, state }: TestCase, writes: readonly AttributeWrite[]): DeviceState {
  let after = state;
  for (const { file, value } of writes) {
    if (file === `/sys${devpath}/state`) after = value.startsWith("online") ? "online" : "offline";
    if (file === `/sys${devpath}/online`) after = value === "1" ? "online" : "offline";
  }
  return after;
}

function worldOf(one: TestCase, { version, virt, look }: Surroundings): World {
  return {
    ...NOTHING_KNOWN,
    // 257's test mode runs no program of these, and takes each for one that succeeded and printed nothing.
    program: (command) => (version === 257 ? { exit: 0, stdout: "" } : programResult(command, one, look)),
    constant: (name) => (name === "virt" ? virt : "x86-64"),
    fileMode: (path) => findMode(look, path),
    readFile: (path) => look.texts.get(path) ?? null,
    device: (subsystem, sysname) => {
      const device = sysfsDevice(look, `/devices/system/${subsystem}/${sysname}`);
      return device.subsystem === undefined ? null : device;
    },
    database: () => null,
    sysctl: (name) => look.texts.get(`/proc/sys/${name.replaceAll(".", "/")}`) ?? null,
    commandLine: (name) => {
      const words = look.texts.get("/proc/cmdline")?.trim().split(/\s+/) ?? [];
      const found = words.find((word) => word === name || word.startsWith(`${name}=`));
      return found?.slice(name.length + 1) ?? null;
    },
  };
}

/** `*` between slashes is the first directory in which there is the rest. */
function findMode({ modes }: FileTree, path: string): number | null {
  const [start = "", rest] = path.split("/*/", 2);
  if (rest === undefined) return modes.get(normalize(path)) ?? null;
  for (const [found, mode] of modes)
    if (
      found.startsWith(`${start}/`) &&
      /^[^/]+$/.test(found.slice(start.length + 1, -rest.length - 1)) &&
      found.endsWith(`/${rest}`)
    )
      return mode;
  return null;
}

function programResult(command: string, { answers }: TestCase, look: FileTree): ProgramResult | undefined {
  const stub = STUBS.find((path) => command.startsWith(path));
  if (stub) return answers[stub];
  const file = /^\/bin\/cat (\S+)$/.exec(command)?.[1];
  if (file !== undefined) return { exit: 0, stdout: look.texts.get(file) ?? "" };
  return command === "" ? undefined : recordedProgram(command);
}
