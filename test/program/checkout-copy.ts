/** A copy of this checkout, in which a script can be run that would disturb others: it builds, packs, or writes beside them. */
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { hasExited } from "../../src/targets/child.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

/** A script that runs, with all that it has started, in a process group of its own: as from a terminal. */
export class Script {
  readonly line: string;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #closed: Promise<number | null>;
  #said = "";

  constructor(words: readonly string[], cwd: string, env: Readonly<Record<string, string>>) {
    const [program = "", ...args] = words;
    this.line = words.join(" ");
    this.#child = spawn(program, args, {
      cwd,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const listen = (bytes: Buffer): void => void (this.#said += bytes.toString());
    this.#child.stdout.on("data", listen);
    this.#child.stderr.on("data", listen);
    this.#closed = new Promise((resolve) => this.#child.once("close", (code) => resolve(code)));
  }

  /** What it has printed so far. */
  get said(): string {
    return this.#said;
  }

  /** Its exit code, once it and all that it has started have closed their output; null where a signal ended it. */
  async ended(): Promise<number | null> {
    return await this.#closed;
  }

  get hasEnded(): boolean {
    return hasExited(this.#child);
  }

  /** Ctrl-C: everything in the group is told. */
  interrupt(): void {
    this.#kill("SIGINT");
  }

  #kill(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.#child.pid!, signal);
    } catch {
      // None of it is there any more.
    }
  }

  /** Command lines of what runs in its group. */
  async processes(): Promise<readonly string[]> {
    const found: string[] = [];
    for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
      const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
      // Behind the name, which may have blanks: state, parent, group.
      const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(group) !== this.#child.pid || state === "Z") continue;
      found.push((await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")).replaceAll("\0", " "));
    }
    return found;
  }

  kill(): void {
    this.#kill("SIGKILL");
  }
}

/** Files as they are in the work tree, committed, with the same npm packages. */
export class CheckoutCopy implements AsyncDisposable {
  readonly path: string;
  /** Where its scripts have their temporary files. */
  readonly temporary: string;
  readonly #directory: string;
  readonly #scripts: Script[] = [];

  private constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, "kdump-hotplug");
    this.temporary = join(directory, "tmp");
  }

  static async make(): Promise<CheckoutCopy> {
    const copy = new CheckoutCopy(await mkdtemp(join(tmpdir(), "kdh-checkout-")));
    await mkdir(copy.temporary);
    const { stdout } = await run("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
      cwd: SOURCE,
    });
    for (const name of stdout.split("\0").filter((each) => each !== "")) {
      await mkdir(dirname(join(copy.path, name)), { recursive: true });
      // One that was deleted and not yet committed is listed all the same.
      await cp(join(SOURCE, name), join(copy.path, name)).catch(() => undefined);
    }
    const git = async (...args: readonly string[]): Promise<void> => {
      const who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
      await run("git", [...who, ...args], { cwd: copy.path, maxBuffer: 64 << 20 });
    };
    await git("init", "--quiet");
    await git("add", "--all");
    await git("commit", "--quiet", "--message", "copy");
    // Links: nothing in there is written to, only replaced.
    await run("cp", ["-al", join(SOURCE, "node_modules"), join(copy.path, "node_modules")]);
    // Newer than the lock file: make has nothing to install.
    const marker = join(copy.path, "node_modules/.package-lock.json");
    await rm(marker);
    await cp(join(SOURCE, "node_modules/.package-lock.json"), marker);
    return copy;
  }

  /** Starts what a document shows. */
  start(words: readonly string[]): Script {
    const script = new Script(words, this.path, { TMPDIR: this.temporary });
    this.#scripts.push(script);
    return script;
  }

  /** What scripts have left of their temporary files. */
  async left(): Promise<readonly string[]> {
    // Node's and npm's own caches.
    return (await readdir(this.temporary)).filter((name) => !/^(?:node-compile-cache|npm-)/.test(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const script of this.#scripts) script.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
