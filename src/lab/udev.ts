/**
 * A real systemd-udevd in a guest, without systemd. (Debian's udev wants the C library of its own release: see
 * guest-programs.ts.) PID 1 is the lab's /init: nothing here is a unit, and udevd has no system call filter.
 */
import type { AgentChannel } from "./channel.ts";
import type { CpioEntry } from "./cpio.ts";
import { LostGuestError } from "./errors.ts";
import { UDEV_PROGRAMS, type UdevProgram, type UdevSupply } from "./fetch/udev.ts";
import { type GuestFile, writeGuestFiles } from "./guest-actions.ts";
import { programEntries } from "./guest-programs.ts";

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
export async function udevEntries({ files, loader, programs }: UdevSupply): Promise<readonly CpioEntry[]> {
  const called = UDEV_PROGRAMS.map((program) => ({ at: CALLED[program], program: programs[program] }));
  return programEntries({ root: ROOT, files, loader, called });
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
