/** Runs of `lab` commands that are interrupted: where they lie, what is left of them. */
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type CliResult, type CliRun, startCli } from "./cli.ts";

/** Guests' RAM may lie there. */
const RAM_DIRECTORY = "/dev/shm";

/** What runs may leave behind. */
interface Left {
  readonly processes: readonly number[];
  readonly files: readonly string[];
  readonly ramFiles: readonly string[];
}

/** What is to be left of a run that was interrupted. */
export const NOTHING: Left = { processes: [], files: [], ramFiles: [] };

/** Waits until something is so. */
export async function until(what: string, limitMs: number, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await delay(50);
  }
}

/** Whether one of the lab's directories `names` in `temporary` has a guest whose kernel has said its first words. */
export async function guestBootsIn(temporary: string, names: readonly string[]): Promise<boolean> {
  for (const name of names) {
    const console = await readFile(join(temporary, name, "console.log"), "latin1").catch(() => "");
    if (console.includes("Linux version ")) return true;
  }
  return false;
}

/** A directory in which runs begin and have their temporary files, so that those of others are not mistaken for theirs. */
export class LabRuns implements AsyncDisposable {
  /** Where runs begin. */
  readonly cwd: string;
  readonly #temporary: string;
  readonly #directory: string;
  readonly #runs: CliRun[] = [];

  private constructor(directory: string) {
    this.#directory = directory;
    this.cwd = join(directory, "here");
    this.#temporary = join(directory, "tmp");
  }

  static async make(): Promise<LabRuns> {
    const runs = new LabRuns(await mkdtemp(join(tmpdir(), "kdh-run-")));
    await mkdir(runs.cwd);
    await mkdir(runs.#temporary);
    return runs;
  }

  /** @param limitMs it is killed, and its result rejects, after so long. */
  start(args: readonly string[], limitMs: number): CliRun {
    const run = startCli(args, limitMs, { TMPDIR: this.#temporary }, this.cwd);
    this.#runs.push(run);
    return run;
  }

  /** Processes of QEMU (or what becomes QEMU) whose command line names this directory. */
  async processes(): Promise<readonly number[]> {
    const found: number[] = [];
    for (const name of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
      const line = await readFile(`/proc/${name}/cmdline`, "latin1").catch(() => "");
      // A run has its own arguments, which may name a file here: it is no guest.
      if (line.includes(this.#temporary)) found.push(Number(name));
    }
    return found;
  }

  /** Directories of the lab that `run` has made. */
  async directoriesOf({ pid }: CliRun): Promise<readonly string[]> {
    return (await readdir(this.#temporary)).filter((name) => name.startsWith(`kdump-hotplug-lab-${pid}.`));
  }

  /** Whether a guest of `run`'s boots: its kernel has said its first words on the console. */
  async boots(run: CliRun): Promise<boolean> {
    return await guestBootsIn(this.#temporary, await this.directoriesOf(run));
  }

  /** What there is of the runs outside of {@link cwd}: {@link NOTHING}, once all have ended. */
  async left(): Promise<Left> {
    const ours = this.#runs.map(({ pid }) => `kdump-hotplug-lab-${pid}.`);
    const ram = await readdir(RAM_DIRECTORY).catch(() => []);
    return {
      processes: await this.processes(),
      files: await readdir(this.#temporary),
      ramFiles: ram.filter((name) => ours.some((prefix) => name.startsWith(prefix))),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { child } of this.#runs) child.kill("SIGKILL");
    for (const pid of await this.processes()) process.kill(pid, "SIGKILL");
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Sends SIGINT. @returns how the run ended, and how long that took, ms. */
export async function interrupted(run: CliRun): Promise<CliResult & { readonly endedAfterMs: number }> {
  const sent = performance.now();
  run.child.kill("SIGINT");
  return { ...(await run.result), endedAfterMs: performance.now() - sent };
}
