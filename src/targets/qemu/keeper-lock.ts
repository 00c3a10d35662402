/**
 * One keeper at a time for each QEMU process, whichever of its QMP sockets a keeper has come by.
 *
 * A QMP socket serves one client, but a QEMU may have several, and two keepers that pause and write in turn write into
 * a running guest. Node has no flock(2); a socket in the abstract namespace (unix(7)) can be bound once and goes with
 * its process, however that ends. The namespace is that of the network: see docs/decisions/0012.
 */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";

import { descriptorLinks, parseUnixSockets, processNumbers, type QemuProcess } from "./qemu-process.ts";
import { QmpError } from "./qmp-errors.ts";
import { codeOf } from "./unix-socket.ts";

/** Raised where another keeper is at work on the same QEMU: nothing was done. Exit code 3. */
export class KeeperBusyError extends QmpError {
  override readonly name = "KeeperBusyError";
}

/** `sun_path`: a name that fills it is the same for every libuv, which pads shorter ones or does not. */
const NAME_LENGTH = 108;

/** The lock on the QEMU behind one connection. */
export class KeeperLock {
  readonly #processes: readonly QemuProcess[];
  #server: Promise<Server | undefined> | undefined;
  #holders = 0;

  /** @param processes what `findQemuProcesses` found; where that is nothing there is no lock, and nobody is refused. */
  constructor(processes: readonly QemuProcess[]) {
    this.#processes = processes;
  }

  /** Whether it is known that no other keeper works on this QEMU. */
  get isHeld(): boolean {
    return this.#holders > 0 && this.#processes.length > 0;
  }

  /**
   * Takes the lock, which may be taken again while it is held.
   *
   * @returns what gives it back.
   * @throws {KeeperBusyError} where another keeper has it.
   */
  async take(): Promise<AsyncDisposable> {
    this.#holders++;
    this.#server ??= bindLock(this.#processes);
    const server = this.#server;
    const give = async (): Promise<void> => {
      if (--this.#holders > 0) return;
      this.#server = undefined;
      const bound = await server.catch(() => undefined);
      if (bound !== undefined) await new Promise<void>((resolve) => bound.close(() => resolve()));
    };
    try {
      await server;
    } catch (error) {
      await give();
      throw error;
    }
    return { [Symbol.asyncDispose]: give };
  }
}

async function bindLock([process]: readonly QemuProcess[]): Promise<Server | undefined> {
  const started = process && (await startTime(process.pid));
  if (process === undefined || started === undefined) return undefined;
  const name = `kdump-hotplug-keeper-${process.pid}-${started}`.padEnd(NAME_LENGTH - 1, "-");
  const server = createServer((socket) => socket.destroy());
  server.unref();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ path: `\0${name}` }, resolve);
    });
    return server;
  } catch (error) {
    if (codeOf(error) !== "EADDRINUSE") throw error;
    const holder = await holderOf(name);
    throw new KeeperBusyError(
      `Another kdump-hotplug${holder === undefined ? "" : ` (process ${holder})`} is at work on this guest (QEMU is process ${process.pid}): wait for its end, or end it; nothing was changed`,
    );
  }
}

/** Clock ticks since boot at which a process began (proc_pid_stat(5)): tells it from a later one of that number. */
async function startTime(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
  // The name in parentheses may hold blanks and parentheses; starttime is the 20th field behind it.
  return /^\d+$/.exec(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "")?.[0];
}

/** The process that has bound `name`, where it can be seen. */
async function holderOf(name: string): Promise<number | undefined> {
  const table = await readFile("/proc/net/unix", "utf8").catch(() => "");
  const entry = parseUnixSockets(table).find(({ path }) => path === `@${name}`);
  for (const pid of entry === undefined ? [] : await processNumbers("/proc")) {
    const links = await descriptorLinks(pid);
    if (links.some(({ target }) => target === `socket:[${entry!.inode}]`)) return pid;
  }
  return undefined;
}
