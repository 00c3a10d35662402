/** One guest of the lab: QEMU with a kernel, an initramfs, two serial ports and two QMP sockets. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { copyFile, lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasEnded, MARK_PATTERN, ownMark } from "../targets/process-mark.ts";
import { AgentChannel } from "./channel.ts";
import { LostGuestError } from "./errors.ts";
import { type GuestMachine, qemuArguments } from "./guest-machine.ts";
import { hasExited } from "../targets/child.ts";

/** What a guest is booted with. */
export interface GuestOptions extends GuestMachine {
  readonly qemu: string;
  readonly vmlinuz: string;
  readonly initramfs: string;
  readonly accelerator: AcceleratorChoice;
  readonly signal?: AbortSignal | undefined;
}

/**
 * KVM where it works: /dev/kvm can be opened and the processor has VMX or SVM. (Without either, some hosts have a
 * /dev/kvm that emulates: there 6.1 did not get through its boot in 100 s, TCG takes 3 s.) The first guest that is
 * lost on KVM ends its use for the run.
 */
export class AcceleratorChoice {
  #current: "kvm" | "tcg";

  /** @param wanted `auto` tries KVM where it can work. */
  constructor(wanted: "auto" | "kvm" | "tcg" = "auto") {
    this.#current = wanted === "auto" ? (hasKvm() ? "kvm" : "tcg") : wanted;
  }

  get current(): "kvm" | "tcg" {
    return this.#current;
  }

  /** From now on TCG. */
  giveUpKvm(): void {
    this.#current = "tcg";
  }
}

function hasKvm(): boolean {
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    return /^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "latin1"));
  } catch {
    return false;
  }
}

/** A guest that was stopped and saved beside its RAM file (saved-guest.ts). */
export interface SavedState {
  /** What QEMU wrote: everything but the RAM. */
  readonly file: string;
  /** `uname -r` of the kernel in it. */
  readonly release: string;
}

/** Begins the names of the lab's directories; the mark of the process that they belong to follows. */
const DIRECTORY_PREFIX = "kdump-hotplug-lab-";
const DIRECTORY = new RegExp(`^${DIRECTORY_PREFIX}(${MARK_PATTERN})-`);
/** A guest on TCG takes 3 to 6 s to its shell. */
const BOOT_TIMEOUT_MS = { tcg: 120_000, kvm: 30_000 } as const;

/** How a process ended: with an exit code, or by a signal. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running guest. It ends with the process that started it, also when that is killed. */
export class LabGuest implements AsyncDisposable {
  readonly agent: AgentChannel;
  /** QMP socket for the product under test. */
  readonly qmpPath: string;
  /** A second QMP socket, for the lab itself. */
  readonly labQmpPath: string;
  readonly release: string;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(agent: AgentChannel, child: ChildProcess, directory: string, release: string) {
    this.agent = agent;
    this.#process = child;
    this.#directory = directory;
    this.release = release;
    this.qmpPath = join(directory, "qmp.sock");
    this.labQmpPath = join(directory, "lab.sock");
  }

  /**
   * Boots a guest and waits for its shell.
   *
   * @throws {LostGuestError} with the end of the console log, where the guest does not get there.
   */
  static async boot(options: GuestOptions): Promise<LabGuest> {
    return LabGuest.#start(options, [], async (agent) =>
      agent.hello("guest", BOOT_TIMEOUT_MS[options.accelerator.current]),
    );
  }

  /**
   * Starts a QEMU that takes over a saved guest, which stands still until `resumeSaved` (saved-guest.ts).
   *
   * @param options those that it was saved with, with a `ramFile` that is a copy of its RAM.
   * @throws {LostGuestError} where QEMU does not start.
   */
  static async receive(options: GuestOptions, saved: SavedState): Promise<LabGuest> {
    return LabGuest.#start(options, ["-incoming", "defer"], async () => saved.release);
  }

  /** @param ready waits until the guest can be worked with, and gives its kernel's release. */
  static async #start(
    options: GuestOptions,
    more: readonly string[],
    ready: (agent: AgentChannel) => Promise<string>,
  ): Promise<LabGuest> {
    await removeAbandonedDirectories();
    const directory = await makeLabDirectory();
    const child = launch(options, directory, more);
    // Nobody is to wait for the socket of a QEMU that has ended.
    const gone = new AbortController();
    child.once("exit", () => gone.abort(new LostGuestError("QEMU ended at once")));
    let stderr = "";
    let agent: AgentChannel | undefined;
    child.stderr?.on("data", (bytes: Buffer) => {
      stderr = (stderr + bytes.toString()).slice(0, 4000);
      // QEMU does not end then: the guest stands still for good.
      if (stderr.includes("KVM internal error"))
        agent?.lose(new LostGuestError("KVM failed with an internal error"));
    });
    try {
      const spawned = once(child, "spawn");
      await spawned;
      const stopped = AbortSignal.any(options.signal ? [options.signal, gone.signal] : [gone.signal]);
      agent = await AgentChannel.connect(join(directory, "agent.sock"), stopped);
      const line = agent;
      child.once("exit", () => line.lose(new LostGuestError("QEMU has ended")));
      const abort = (): void => line.lose(abortReason(options.signal));
      options.signal?.addEventListener("abort", abort, { once: true });
      if (options.signal?.aborted) abort();
      child.once("exit", () => options.signal?.removeEventListener("abort", abort));
      return new LabGuest(agent, child, directory, await ready(agent));
    } catch (error) {
      const log = await consoleTail(directory);
      await stop(child);
      await agent?.[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
      if (options.signal?.aborted) throw abortReason(options.signal);
      const why = error instanceof Error ? error.message : String(error);
      throw new LostGuestError(`The guest died before the scenario began: ${why}\n${stderr}${log}`, {
        cause: error,
      });
    }
  }

  /** Whether QEMU has ended. A guest that panics without a capture kernel ends it (`panic=`, `-no-reboot`). */
  get ended(): boolean {
    return hasExited(this.#process);
  }

  /** How QEMU ended, waited for as long as `limitMs`; undefined where it has not by then. */
  async end(limitMs: number): Promise<ProcessEnd | undefined> {
    if (!this.ended)
      await once(this.#process, "exit", { signal: AbortSignal.timeout(limitMs) }).catch(() => []);
    return this.ended ? { code: this.#process.exitCode, signal: this.#process.signalCode } : undefined;
  }

  /** The last lines of the console: what the kernels said. */
  async consoleTail(): Promise<string> {
    return consoleTail(this.#directory);
  }

  /** Copies the console's log, and what QEMU said on each monitor, into `directory`. What is not there is left out. */
  async keepLogs(directory: string): Promise<void> {
    for (const name of LOGS)
      await copyFile(join(this.#directory, name), join(directory, name)).catch(() => undefined);
  }

  /** Kills QEMU by its pid, waits for its end, and removes its directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#process);
    await this.agent[Symbol.asyncDispose]();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** The console, and QEMU's side of the two monitors. */
const LOGS = ["console.log", "qmp.log", "lab-qmp.log"] as const;

/**
 * Starts QEMU in a process group of its own, so that Ctrl-C reaches us and not it, and with a parent-death signal,
 * so that it cannot outlive us. Its RAM is a memfd or anonymous unless a file is named: nothing is left behind either.
 */
function launch(options: GuestOptions, directory: string, more: readonly string[]): ChildProcess {
  // setpriv (util-linux, essential on Debian) sets the parent-death signal and becomes QEMU: the pid is QEMU's.
  return spawn(
    "setpriv",
    ["--pdeathsig", "KILL", options.qemu, ...qemuArguments(options, directory), ...more],
    {
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || hasExited(child)) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

function abortReason(signal: AbortSignal | undefined): Error {
  return signal?.reason instanceof Error ? signal.reason : new Error("The run was stopped");
}

async function consoleTail(directory: string): Promise<string> {
  const text = await readFile(join(directory, "console.log"), "latin1").catch(() => "");
  return text.replaceAll("\r", "").split("\n").slice(-40).join("\n");
}

/** A directory of a lab run. Whoever makes it removes it; one that is killed leaves it to a later run. */
export async function makeLabDirectory(parent: string = tmpdir()): Promise<string> {
  return mkdtemp(join(parent, `${DIRECTORY_PREFIX}${ownMark()}-`));
}

/**
 * Removes directories of our own lab runs that were killed outright, which could not do it themselves. What belongs to
 * somebody else, or to a process that may be alive in another pid namespace, is not touched, and what cannot be
 * removed stays: it is no concern of this run.
 */
export async function removeAbandonedDirectories(parent: string = tmpdir()): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const mark = DIRECTORY.exec(name)?.[1];
    if (mark === undefined || !hasEnded(mark)) continue;
    const path = join(parent, name);
    const entry = await lstat(path).catch(() => undefined);
    if (entry?.uid !== process.geteuid?.()) continue;
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}
