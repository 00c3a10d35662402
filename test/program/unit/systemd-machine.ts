/**
 * A systemd of its own, as process 1 of new namespaces over a copy-on-write view of this machine: units run under it
 * exactly as they would on a host, and nothing of this machine is changed. No virtual machine, so it takes seconds.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { access, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { PATIENCE } from "../../patience.ts";
import { hasExited } from "../../../src/targets/child.ts";

/** Where the machine has the directory that it shares with the test. */
export const OUT = "/out";

/**
 * Runs as process 1 of the new namespaces, $1 is a directory of ours. Units of this machine are left out: those that ours
 * depends on are empty ones.
 */
const BOOT = `
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/layers"
mkdir "$1/layers/up" "$1/layers/wk" "$1/layers/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layers/up,workdir=$1/layers/wk" "$1/layers/root"
out="$1/out"
cd "$1/layers/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir out
mount --bind "$out" out
mount -t tmpfs -o mode=755 tmpfs dev
for n in null zero full random urandom tty; do touch dev/$n; mount --bind /dev/$n dev/$n; done
mkdir dev/shm dev/pts dev/mqueue dev/hugepages run/lock
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s /proc/self/fd dev/fd
ln -s /out/console dev/console
rm -rf etc/systemd/system
cp -a out/units etc/systemd/system
sh -e out/prepare
export container=other
exec chroot . /lib/systemd/systemd --system --unit=test.target --log-target=console --log-level=info
`;

/** Moves itself into a control group of its own, so that what systemd makes lies below that. $1 as above, $2 the group. */
const ENTER = `
mkdir "$2"
echo $$ >"$2/cgroup.procs"
exec unshare --pid --fork --mount --uts --ipc --cgroup --kill-child=KILL sh "$1/boot" "$1"
`;

const EMPTY_UNIT = "[Unit]\nDefaultDependencies=no\n";

export interface MachineFiles {
  /** Unit files and drop-ins by their path below /etc/systemd/system. */
  readonly units: Readonly<Record<string, string>>;
  /** A shell script, run in the machine's root directory before it boots; relative paths are the machine's. */
  readonly prepare: string;
  /** Run once test.target is up; what it leaves in {@link OUT} is what is seen of it. */
  readonly script: string;
  /** Other files, by their name in {@link OUT}. */
  readonly files: Readonly<Record<string, string>>;
}

/** One that boots, runs its script, and is gone with everything in it. */
export class SystemdMachine implements AsyncDisposable {
  /** {@link OUT}, as this machine sees it. */
  readonly out: string;
  readonly #directory: string;
  readonly #group: string;
  readonly #child: ChildProcess;
  #said = "";

  private constructor(directory: string, group: string) {
    this.#directory = directory;
    this.out = join(directory, "out");
    this.#group = group;
    this.#child = spawn("sh", ["-e", join(directory, "enter"), directory, group], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (bytes: Buffer) => (this.#said += bytes.toString()));
  }

  static async boot(files: MachineFiles): Promise<SystemdMachine> {
    const directory = await mkdtemp(join(tmpdir(), "kdh-systemd-"));
    await mkdir(join(directory, "layers"));
    const units: Record<string, string> = {
      "test.target": `${EMPTY_UNIT}Wants=script.service\n`,
      "script.service": `${EMPTY_UNIT}[Service]\nType=oneshot\nExecStart=/bin/sh ${OUT}/script\nExecStopPost=/bin/touch ${OUT}/done\n`,
      ...files.units,
    };
    for (const name of ["sysinit", "basic", "local-fs", "shutdown", "multi-user"])
      units[`${name}.target`] = EMPTY_UNIT;
    for (const [name, text] of Object.entries(units)) {
      const path = join(directory, "out/units", name);
      await mkdir(join(path, ".."), { recursive: true });
      await writeFile(path, text);
    }
    const more = { ...files.files, script: files.script, prepare: files.prepare, console: "" };
    for (const [name, text] of Object.entries(more)) await writeFile(join(directory, "out", name), text);
    await writeFile(join(directory, "boot"), BOOT);
    await writeFile(join(directory, "enter"), ENTER);
    return new SystemdMachine(directory, join(cgroupRoot() ?? "/", `kdh-test-${process.pid}-${Date.now()}`));
  }

  /** Waits until the script has ended, however it has. @throws with what was said where that takes too long. */
  async done(limitMs: number): Promise<void> {
    const isOver = (): boolean => existsSync(join(this.out, "done")) || this.#child.exitCode !== null;
    await vi.waitUntil(isOver, { timeout: limitMs, interval: 50 }).catch(() => undefined);
    if (existsSync(join(this.out, "done"))) return;
    const console = await readFile(join(this.out, "console"), "utf8").catch(() => "");
    throw new Error(`The machine did not end its script: ${this.#said}${console}`);
  }

  async read(name: string): Promise<string> {
    return await readFile(join(this.out, name), "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Process 1 goes with unshare (--kill-child), and everything in its namespace with process 1.
    this.#child.kill("SIGKILL");
    await vi.waitUntil(() => hasExited(this.#child), PATIENCE);
    await vi.waitUntil(async () => await removeGroup(this.#group), { timeout: 10_000, interval: 50 });
    await rm(this.#directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** Takes a control group away with all below it, which have no processes any more. @returns whether it is gone. */
async function removeGroup(group: string): Promise<boolean> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeGroup(join(group, entry.name));
  await rmdir(group).catch(() => undefined);
  return !existsSync(group);
}

/** Where control groups of the second version are mounted. */
function cgroupRoot(): string | undefined {
  return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) =>
    existsSync(join(path, "cgroup.controllers")),
  );
}

/** Why there can be none here; undefined where there can. */
export async function noSystemdMachine(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "only root can make one";
  for (const program of ["/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/systemd-notify"])
    if (!existsSync(program)) return `${program} is not installed`;
  if (cgroupRoot() === undefined) return "there are no control groups of version 2";
  try {
    await access(cgroupRoot() ?? "/");
    await using machine = await SystemdMachine.boot({ units: {}, prepare: "", script: "", files: {} });
    await machine.done(30_000);
    return undefined;
  } catch (error) {
    return `this kernel does not let one be made: ${error instanceof Error ? error.message : String(error)}`;
  }
}
