/**
 * A real systemd-udevd in a guest, without systemd.
 *
 * Debian's udev wants the C library of its own release, kexec that of another one. So udev lies in a directory of its
 * own, laid out as in Debian, and what is called is a script of one line that starts its own loader on its own
 * libraries. PID 1 is the lab's /init: nothing here is a unit, and udevd has no system call filter.
 */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentChannel } from "./channel.ts";
import type { CpioEntry } from "./cpio.ts";
import { LostGuestError } from "./errors.ts";
import { UDEV_PROGRAMS, type UdevProgram, type UdevSupply } from "./fetch/udev.ts";
import { type GuestFile, writeGuestFiles } from "./guest-actions.ts";

/** Where a guest has udev's files. */
const ROOT = "/udev";
/** Where a guest calls each program. */
const CALLED: Readonly<Record<UdevProgram, string>> = {
  "systemd-udevd": "/usr/lib/systemd/systemd-udevd",
  udevadm: "/usr/bin/udevadm",
  flock: "/usr/bin/flock",
};
/** Highest priority but one (systemd's conf-files.c), and on a tmpfs. */
const RULES_DIRECTORY = "/run/udev/rules.d";
/** It takes 0.3 s to start on TCG. */
const START_TIMEOUT_MS = 30_000;

/**
 * What a guest's initramfs takes in for udev.
 *
 * @throws the file system's error where a part cannot be read.
 */
export async function udevEntries(supply: UdevSupply): Promise<readonly CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const { guestPath, hostPath } of supply.files)
    entries.push({ kind: "file", name: inArchive(guestPath), mode: 0o755, data: await readFile(hostPath) });
  for (const program of UDEV_PROGRAMS) {
    const data = new TextEncoder().encode(wrapper(supply, supply.programs[program]));
    entries.push({ kind: "file", name: CALLED[program].slice(1), mode: 0o755, data });
  }
  return entries;
}

function inArchive(path: string): string {
  return `${ROOT}${path}`.slice(1);
}

/** Keeps the program's own name as `argv[0]`: udevd and udevadm are one program that looks at it. */
function wrapper({ loader, files }: UdevSupply, program: string): string {
  const libraries = files.filter(({ guestPath }) => /\.so(?:\.|$)/.test(guestPath) && guestPath !== loader);
  const directories = [...new Set(libraries.map(({ guestPath }) => `${ROOT}${dirname(guestPath)}`))];
  return `#!/bin/sh
exec ${ROOT}${loader} --inhibit-cache --library-path ${directories.join(":")} ${ROOT}${program} "$@"
`;
}

/** One rules file for a guest. */
export interface GuestRules {
  /** Base name: it decides what comes before and after. */
  readonly fileName: string;
  readonly text: string;
}

/** What udevd is to do in a guest. */
export interface GuestUdev {
  readonly rules: readonly GuestRules[];
  /** Programs that the rules call. */
  readonly scripts: readonly GuestFile[];
}

/**
 * Starts systemd-udevd in a guest whose initramfs has it, with `rules` and no others, and waits until it answers.
 *
 * @throws {GuestCommandError} where the guest has no udev, or udevd does not start.
 */
export async function startUdev(agent: AgentChannel, { rules, scripts }: GuestUdev): Promise<void> {
  await agent.output(
    `test -x ${CALLED.udevadm} && mount -t tmpfs run /run && mkdir -p ${RULES_DIRECTORY} /run/lock`,
  );
  await writeGuestFiles(agent, [
    ...rules.map(({ fileName, text }) => ({ path: `${RULES_DIRECTORY}/${fileName}`, mode: 0o644, text })),
    ...scripts,
  ]);
  await agent.output(`${CALLED["systemd-udevd"]} --daemon`, START_TIMEOUT_MS);
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const { status, output } = await agent.run(`${CALLED.udevadm} control --ping --timeout=5`);
    if (status === 0) return;
    if (performance.now() > deadline) {
      const words = Buffer.from(output).toString("latin1").trim();
      throw new LostGuestError(
        `systemd-udevd did not answer within ${START_TIMEOUT_MS / 1000} s of its start: ${words}`,
      );
    }
  }
}
