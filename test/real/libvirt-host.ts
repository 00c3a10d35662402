/** A libvirt of the test's own, in session mode, and guests of the lab that are its domains. */
import { type ChildProcess, type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, chown, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { AgentChannel } from "../../src/lab/channel.ts";
import { makeLabDirectory, type ProcessEnd } from "../../src/lab/guest.ts";
import type { Lab } from "./lab.ts";
import { hasExited } from "../../src/targets/child.ts";

/** Root's libvirt is the system's own: as root the test's runs as this user (nobody). */
const USER = 65534;
const BOOT_MS = 120_000;
const isRoot = process.getuid?.() === 0;

/** What a domain of the lab is. */
export interface DomainOptions {
  readonly name: string;
  /** Whether its RAM is a shared memfd. */
  readonly shared: boolean;
}

/** A daemon that runs, until disposed of. */
export class LibvirtHost implements AsyncDisposable {
  /** What virsh and our program need to find it. */
  readonly env: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly #lab: Lab;
  #daemon: ChildProcess | undefined;
  #reaper: ChildProcessByStdio<Writable, null, null> | undefined;

  private constructor(lab: Lab, directory: string) {
    this.#lab = lab;
    this.directory = directory;
    const socket = join(directory, "run/libvirt/libvirt-sock");
    this.env = { LIBVIRT_DEFAULT_URI: `qemu+unix:///session?socket=${socket}` };
  }

  static async start(lab: Lab): Promise<LibvirtHost> {
    const directory = await makeLabDirectory();
    // QEMU's user has to come through to its own part.
    await chmod(directory, 0o711);
    const host = new LibvirtHost(lab, directory);
    for (const name of ["run", "config", "config/libvirt", "cache", "data", "guest"]) {
      await mkdir(join(directory, name), { mode: 0o700 });
      if (isRoot) await chown(join(directory, name), USER, USER);
    }
    // Else a second daemon writes the console's log.
    await writeFile(join(directory, "config/libvirt/qemu.conf"), 'stdio_handler = "file"\n');
    for (const [from, to] of [
      [lab.parts.vmlinuz, "vmlinuz"],
      [lab.parts.initramfs, "initramfs"],
    ] as const) {
      await copyFile(from, join(directory, "guest", to));
      await chmod(join(directory, "guest", to), 0o644);
    }
    await host.startDaemon();
    return host;
  }

  /** Starts libvirtd, and waits for its socket. */
  async startDaemon(): Promise<void> {
    const { directory } = this;
    const at = (name: string): string => join(directory, name);
    const user = isRoot ? ["--reuid", String(USER), "--regid", String(USER), "--clear-groups"] : [];
    const daemon = spawn("setpriv", ["--pdeathsig", "KILL", ...user, this.#lab.supplies.libvirt!.libvirtd], {
      detached: true,
      stdio: "ignore",
      env: {
        PATH: process.env["PATH"],
        HOME: directory,
        XDG_RUNTIME_DIR: at("run"),
        XDG_CONFIG_HOME: at("config"),
        XDG_CACHE_HOME: at("cache"),
        XDG_DATA_HOME: at("data"),
        LIBVIRT_LOG_OUTPUTS: `3:file:${at("data/libvirtd.log")}`,
      },
    });
    await once(daemon, "spawn");
    const before = this.#reaper;
    this.#daemon = daemon;
    const reaper = fileURLToPath(new URL("libvirt-reaper.mjs", import.meta.url));
    this.#reaper = spawn(process.execPath, [reaper, String(daemon.pid), directory], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    before?.kill("SIGKILL");
    for (let waited = 0; ; waited += 50) {
      if (
        await this.virsh("uri").then(
          () => true,
          () => false,
        )
      )
        return;
      if (waited > 30_000 || daemon.exitCode !== null)
        throw new Error(
          `libvirtd does not answer: ${await readFile(at("data/libvirtd.log"), "utf8").catch(() => "")}`,
        );
      await delay(50);
    }
  }

  /** Kills libvirtd; its guests go on. */
  async killDaemon(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || hasExited(daemon)) return;
    const exited = once(daemon, "exit");
    daemon.kill("SIGKILL");
    await exited;
  }

  /** Runs virsh to its end. @returns what it printed. */
  async virsh(...args: readonly string[]): Promise<string> {
    const { virsh } = this.#lab.supplies.libvirt!;
    const env = { ...process.env, ...this.env };
    return (await promisify(execFile)(virsh, ["--quiet", ...args], { env, timeout: 60_000 })).stdout.trim();
  }

  /** The path of a file that a domain, or virsh, is given. */
  path(name: string): string {
    return join(this.directory, "guest", name);
  }

  /** The definition of a domain of the lab. @returns a file. */
  async define(options: DomainOptions): Promise<string> {
    const file = this.path(`${options.name}.xml`);
    const { qemu } = this.#lab.parts;
    await writeFile(
      file,
      domainXml(options, qemu, (name) => this.path(name)),
    );
    return file;
  }

  /** Starts a domain and waits for its shell. */
  async boot(options: DomainOptions): Promise<LibvirtGuest> {
    await this.virsh("create", await this.define(options));
    const agent = await AgentChannel.connect(this.path(`${options.name}.agent`), undefined);
    try {
      await agent.hello("guest", BOOT_MS);
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      const log = await readFile(this.path(`${options.name}.log`), "latin1").catch(() => "");
      throw new Error(`The domain did not boot: ${log.slice(-2000)}`, { cause: error });
    }
    return new LibvirtGuest(this, options.name, agent);
  }

  /** Ends guests and daemon, and removes the directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reaper = this.#reaper;
    if (reaper === undefined) return;
    const exited = once(reaper, "exit");
    reaper.stdin.end();
    await exited;
    if (existsSync(this.directory)) throw new Error(`${this.directory} is still there`);
  }
}

/** A domain that runs. Dispose of it. */
export class LibvirtGuest implements AsyncDisposable {
  readonly agent: AgentChannel;
  readonly name: string;
  readonly #host: LibvirtHost;

  constructor(host: LibvirtHost, name: string, agent: AgentChannel) {
    this.#host = host;
    this.name = name;
    this.agent = agent;
  }

  /** Adds a DIMM as an operator does. */
  async attachDimm(mib: number): Promise<void> {
    const file = this.#host.path("dimm.xml");
    await writeFile(
      file,
      `<memory model='dimm'><target><size unit='MiB'>${mib}</size><node>0</node></target></memory>\n`,
    );
    await this.#host.virsh("attach-device", this.name, file, "--live");
  }

  /** For {@link panic}: a guest that resets is ended by libvirt (`on_reboot`), in good order. */
  async end(limitMs: number): Promise<ProcessEnd | undefined> {
    for (let waited = 0; waited < limitMs; waited += 100) {
      const names = (await this.#host.virsh("list", "--name")).split("\n");
      if (!names.includes(this.name)) return { code: 0, signal: null };
      await delay(100);
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.#host.virsh("destroy", this.name).catch(() => undefined);
  }
}

/** As docs/libvirt.md says what a domain needs; the serial ports are the lab's, the second monitor is the test's. */
function domainXml({ name, shared }: DomainOptions, qemu: string, at: (name: string) => string): string {
  const backing = shared
    ? "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    : "";
  return `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${name}</name>
  <maxMemory slots='16' unit='MiB'>16384</maxMemory>
  <memory unit='MiB'>1024</memory>
  <vcpu current='2'>4</vcpu>
  ${backing}
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>${at("vmlinuz")}</kernel>
    <initrd>${at("initramfs")}</initrd>
    <cmdline>console=ttyS0 crashkernel=256M memhp_default_state=online_movable panic=5</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'><numa><cell id='0' cpus='0-3' memory='1024' unit='MiB'/></numa></cpu>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>${qemu}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type="file"><source path="${at(`${name}.log`)}"/><target type="isa-serial" port="0"/></serial>
    <serial type="unix"><source mode="bind" path="${at(`${name}.agent`)}"/><target type="isa-serial" port="1"/></serial>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-qmp'/>
    <qemu:arg value="unix:${at(`${name}.qmp`)},server=on,wait=off"/>
  </qemu:commandline>
</domain>
`;
}
