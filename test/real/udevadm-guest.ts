/** Many runs of `udevadm test` in a guest, in few commands: cases go in as one archive, their outputs come back as one. */
import { gunzipSync } from "node:zlib";
import type { AgentChannel } from "../../src/lab/channel.ts";
import type { CpioEntry } from "../../src/lab/cpio.ts";
import { GuestCommandError, LostGuestError } from "../../src/lab/errors.ts";
import { buildInitramfs } from "../../src/lab/initramfs.ts";
import type { Action } from "../../src/rules/event.ts";
import type { RuleSource } from "../../src/rules/source.ts";
import type { ProgramResult } from "../../src/rules/world.ts";
import type { FileTree } from "./sysfs-device.ts";
import { parseTestOutput, type TestOutcome } from "./udevadm-output.ts";

/** What a memory block or a CPU is before the case. */
export type DeviceState = "online" | "offline";

/** One run of `udevadm test`. */
export interface TestCase {
  /** The only rules that there are; `path` is the file's base name. */
  readonly rules: readonly RuleSource[];
  readonly devpath: string;
  readonly action: Action;
  readonly state: DeviceState;
  /** What the programs of {@link STUBS} answer. */
  readonly answers: Answers;
}

/** A case's end. */
export interface TestResult {
  readonly outcome: TestOutcome;
  /** The device's state, which the kernel may have refused to change. */
  readonly before: DeviceState;
  /** The device's state afterwards. */
  readonly state: DeviceState;
  /** What was called of {@link STUBS}, with arguments. */
  readonly called: readonly string[];
  /** All that was logged, for people. */
  readonly stderr: string;
}

/** Programs that rules call and that a guest does not have. */
export const STUBS = ["/usr/sbin/kdump-config", "/bin/uname", "/bin/systemd-detect-virt"] as const;

/** What each answers. */
export type Answers = Readonly<Record<(typeof STUBS)[number], ProgramResult>>;

const DIRECTORY = "/cases";
/** A line that no output has. */
const MARK = "@@@@";

/**
 * Runs a list of cases and of looks at devices. udev has a /run of its own in it, so that lists run side by side: one
 * for each device, for cases change it. Nothing of one case is left for the next: neither rules nor database. What the
 * shell can do itself it does: each process more is some milliseconds more.
 */
const RUNNER = `mount -t tmpfs run /run && mkdir -p /run/udev || exit 1
set_state() {
  case $2 in online) want=1;; *) want=0;; esac
  tries=0
  until read -r state </sys$1/online; [ $state = $want ]; do
    [ $tries -lt 50 ] || return
    tries=$((tries+1))
    echo $want >/sys$1/online || sleep 0.1
  done 2>/dev/null
}
show() {
  stat -c "${MARK} mode %f %n" "$@"
  for path in "$@"; do
    [ -L $path ] && echo "${MARK} link $(readlink $path) $path"
    [ -f $path ] && [ ! -L $path ] && cat $path >/run/text 2>/dev/null && echo "${MARK} text $path" && cat /run/text && echo
  done
}
while read -r what id devpath state rules action answers; do
  set_state $devpath $state
  read -r state </sys$devpath/online
  echo
  echo "${MARK} $what $id $state"
  if [ $what = look ]; then
    show $(find /sys$devpath -maxdepth 2) $(find /sys\${devpath%/*} -maxdepth 1) $(find $(cat ${DIRECTORY}/files) -maxdepth 1)
    continue
  fi
  [ "$rules" = "$had_rules" ] || ln -sfn ${DIRECTORY}/rules/$rules /run/udev/rules.d
  [ "$answers" = "$had_answers" ] || ln -sfn ${DIRECTORY}/answers/$answers /run/answers
  had_rules=$rules had_answers=$answers
  [ ! -e /run/called ] || rm /run/called
  [ ! -e /run/udev/data ] && [ ! -e /run/udev/tags ] || rm -rf /run/udev/data /run/udev/tags
  echo "${MARK}" >&2
  udevadm test --action=$action /sys$devpath
  read -r state </sys$devpath/online
  echo "${MARK} after $state"
  [ ! -e /run/called ] || cat /run/called
done
`;

/** What one list gave: results in the order of its cases, and the device in each state. */
export interface CaseResults {
  readonly results: readonly TestResult[];
  readonly looks: Readonly<Record<DeviceState, FileTree>>;
}

/**
 * Runs lists of cases, each of one device, side by side.
 *
 * @param files what is wanted of the file system beside the devices: files, and directories with what is in them.
 */
export async function runCases(
  agent: AgentChannel,
  lists: readonly (readonly [TestCase, ...TestCase[]])[],
  files: readonly string[],
): Promise<readonly CaseResults[]> {
  const rules = new Numbers<readonly RuleSource[]>();
  const answers = new Numbers<Answers>();
  const lines = lists.map((cases) => [
    `look online ${cases[0].devpath} online`,
    `look offline ${cases[0].devpath} offline`,
    ...cases.map(
      (one, i) =>
        `case ${i} ${one.devpath} ${one.state} ${rules.of(one.rules)} ${one.action} ${answers.of(one.answers)}`,
    ),
  ]);
  const entries: CpioEntry[] = [
    file("run.sh", RUNNER),
    file("files", files.join("\n")),
    ...lines.map((list, i) => file(`list${i}`, `${list.join("\n")}\n`)),
    ...rules.all.flatMap((sources, i) => sources.map(({ path, text }) => file(`rules/${i}/${path}`, text))),
    ...answers.all.flatMap((given, i) =>
      STUBS.flatMap((path) => [
        file(`answers/${i}/${nameOf(path)}`, given[path].stdout),
        file(`answers/${i}/${nameOf(path)}.exit`, String(given[path].exit)),
      ]),
    ),
    ...STUBS.map((path) => file(`stubs/${nameOf(path)}`, stub(path), 0o755)),
  ];
  const archive = Buffer.from(buildInitramfs(entries)).toString("base64");
  await agent.output(
    `rm -rf ${DIRECTORY} && mkdir ${DIRECTORY} && cd ${DIRECTORY} && echo ${archive} | base64 -d | gunzip | cpio -id 2>/dev/null`,
  );
  // busybox's own are links to it: the stubs take their place.
  for (const path of STUBS)
    await agent.output(
      `mkdir -p ${path.slice(0, path.lastIndexOf("/"))} && ln -sf ${DIRECTORY}/stubs/${nameOf(path)} ${path}`,
    );
  const runs = lists.map(
    (_, i) =>
      `unshare -m sh ${DIRECTORY}/run.sh <${DIRECTORY}/list${i} >${DIRECTORY}/out${i} 2>${DIRECTORY}/log${i} &`,
  );
  await agent.output(`mkdir -p /run; ${runs.join(" ")} wait`, 170_000);
  const results: CaseResults[] = [];
  for (const [i, cases] of lists.entries()) {
    const [out, log] = [
      await unzip(agent, `${DIRECTORY}/out${i}`),
      await unzip(agent, `${DIRECTORY}/log${i}`),
    ];
    const result = parseList(out, log.split(`${MARK}\n`).slice(1));
    if (result.results.length !== cases.length)
      throw new LostGuestError(
        `Only ${result.results.length} of ${cases.length} cases have a result:\n${out}${log}`,
      );
    results.push(result);
  }
  return results;
}

async function unzip(agent: AgentChannel, path: string): Promise<string> {
  const command = `gzip -c ${path}`;
  const { status, output } = await agent.run(command);
  if (status !== 0) throw new GuestCommandError(command, status, Buffer.from(output).toString("latin1"));
  return gunzipSync(output).toString();
}

/** Numbers for things that are the same object. */
class Numbers<T> {
  readonly all: T[] = [];

  of(thing: T): number {
    const known = this.all.indexOf(thing);
    return known === -1 ? this.all.push(thing) - 1 : known;
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function stub(path: string): string {
  const answer = `/run/answers/${nameOf(path)}`;
  return `#!/bin/sh\necho ${path} $* >>/run/called\ncat ${answer}\nexit $(cat ${answer}.exit)\n`;
}

function file(name: string, text: string, mode = 0o644): CpioEntry {
  return { kind: "file", name, mode, data: new TextEncoder().encode(text) };
}

/** @param logs what each case wrote to its standard error. */
function parseList(text: string, logs: readonly string[]): CaseResults {
  const results: TestResult[] = [];
  const looks: Record<DeviceState, FileTree> = { online: NO_FILES, offline: NO_FILES };
  for (const block of text.split(new RegExp(`\\n${MARK} (?=case |look )`)).slice(1)) {
    const [, what, id, before, rest = ""] = /^(\S+) (\S+) ([01])\n(.*)$/s.exec(block) ?? [];
    if (what === "look") {
      looks[id === "online" ? "online" : "offline"] = parseLook(rest);
      continue;
    }
    const [stdout = "", after = ""] = rest.split(`${MARK} after `);
    const stderr = logs[results.length] ?? "";
    results.push({
      before: stateOf(before),
      outcome: parseTestOutput(stdout, stderr),
      state: stateOf(after[0]),
      called: after
        .split("\n")
        .slice(1)
        .filter((line) => line !== ""),
      stderr,
    });
  }
  return { results, looks };
}

function stateOf(online: string | undefined): DeviceState {
  return online === "1" ? "online" : "offline";
}

const NO_FILES: FileTree = { modes: new Map(), texts: new Map(), links: new Map() };

function parseLook(text: string): FileTree {
  const modes = new Map<string, number>();
  const texts = new Map<string, string>();
  const links = new Map<string, string>();
  for (const block of `\n${text}`.split(`\n${MARK} `).slice(1)) {
    const [first = "", ...content] = block.split("\n");
    const [kind, value = "", path = ""] = first.split(" ");
    if (kind === "mode") modes.set(path, Number.parseInt(value, 16));
    else if (kind === "link") links.set(path, value);
    else texts.set(value, content.join("\n"));
  }
  return { modes, texts, links };
}
