/** A guest that dies, or stands still for good, in the middle of a command. */
import { createServer, connect, type Server, type Socket } from "node:net";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { LabGuest } from "../../src/lab/guest.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { findQemuProcesses } from "../../src/targets/qemu/qemu-process.ts";
import { type CliResult, expectOneSentence, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("guests that are lost");
afterAll(() => lab?.close());

/** A door in front of a QMP socket that tells how many commands have gone through. */
class Doorman {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets: Socket[] = [];

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
  }

  /** Calls `act` just before the `count`th command is passed on. */
  static async before(qmpPath: string, directory: string, count: number, act: () => void): Promise<Doorman> {
    let seen = 0;
    return await Doorman.open(qmpPath, directory, (bytes) => {
      const commands = bytes.toString("latin1").split("\n").length - 1;
      if (seen < count && seen + commands >= count) act();
      seen += commands;
    });
  }

  /** Calls `act` just before the command after one that has `words` in it is passed on. */
  static async after(qmpPath: string, directory: string, words: string, act: () => void): Promise<Doorman> {
    let seen = false;
    return await Doorman.open(qmpPath, directory, (bytes) => {
      if (seen) act();
      seen = bytes.includes(words);
    });
  }

  private static async open(
    qmpPath: string,
    directory: string,
    look: (bytes: Buffer) => void,
  ): Promise<Doorman> {
    const path = join(directory, `door-${Math.floor(performance.now())}`);
    const server = createServer((client) => {
      const qemu = connect(qmpPath);
      doorman.#sockets.push(client, qemu);
      client.on("error", () => undefined);
      // As QEMU's own socket: nobody listens once it has ended.
      for (const event of ["error", "end"]) qemu.on(event, () => server.close());
      client.on("data", (bytes: Buffer) => {
        look(bytes);
        qemu.write(bytes);
      });
      qemu.on("data", (bytes: Buffer) => client.write(bytes));
      qemu.on("close", () => client.destroy());
      client.on("close", () => qemu.destroy());
    });
    const doorman = new Doorman(path, server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return doorman;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function pidOf(guest: LabGuest): Promise<number> {
  const [process] = await findQemuProcesses(guest.qmpPath);
  if (!process) throw new Error("QEMU's process was not found");
  return process.pid;
}

describe.skipIf(!lab)("a guest that is lost", () => {
  let directory = "";
  /** The program's own temporary directory: it has to be empty afterwards. */
  let temporary = "";
  let guest: LabGuest | undefined;
  let doorman: Doorman | undefined;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdh-lost-"));
    temporary = join(directory, "tmp");
    await mkdir(temporary);
  });
  afterEach(async () => {
    await doorman?.close();
    doorman = undefined;
    await guest?.[Symbol.asyncDispose]();
    guest = undefined;
  });
  afterAll(async () => {
    await rm(directory, { recursive: true, force: true });
  });

  async function run(...args: readonly string[]): Promise<CliResult> {
    return startCli(args, undefined, { TMPDIR: temporary }).result;
  }

  // qmp_capabilities comes first, then what it takes to find RAM, then copies of it, again and again.
  it.each([
    ["keep", 1],
    ["audit", 5],
    ["keep", 25],
  ] as const)(
    "killed before command %s has sent its %ith line, ends it with one sentence",
    async (command, count) => {
      guest = await lab!.boot({ ramMiB: 512, crashkernelMiB: 0 });
      const pid = await pidOf(guest);
      doorman = await Doorman.before(guest.qmpPath, directory, count, () => process.kill(pid, "SIGKILL"));
      const args = command === "keep" ? ["keep", "--once"] : ["audit"];
      const result = await run(...args, `qmp:${doorman.path}`);
      expectOneSentence(result, 128);
      expect(result.stderr).toMatch(/it has ended or was killed|connection .* broke/i);
      expect(await readdir(temporary)).toEqual([]);
    },
  );

  it("killed in the middle of a pause, ends the command with one sentence, RAM shared or not", async () => {
    for (const ram of ["shared", "private"] as const) {
      guest = await lab!.bootLoaded({ ram });
      const outside = await QemuGuest.open(guest.labQmpPath);
      await outside.plugDimm({ size: 128n << 20n });
      const pid = await pidOf(guest);
      outside.qmp.onEvent(({ event }) => {
        if (event === "STOP") process.kill(pid, "SIGKILL");
      });
      const reach = ram === "private" ? ["--through-qemu"] : [];
      const result = await run("keep", "--once", `qmp:${guest.qmpPath}`, ...reach);
      expectOneSentence(result, 128);
      expect.soft(await readdir(temporary)).toEqual([]);
      await outside.close();
      await guest[Symbol.asyncDispose]();
    }
  });

  it("killed in plug's pause with the DIMM in it, ends the command with one sentence", async () => {
    guest = await lab!.bootLoaded();
    const outside = await QemuGuest.open(guest.labQmpPath);
    const pid = await pidOf(guest);
    // What is asked next is where it lies; nothing has been written then.
    doorman = await Doorman.after(guest.qmpPath, directory, '"device_add"', () =>
      process.kill(pid, "SIGKILL"),
    );
    const result = await run("plug", `qmp:${doorman.path}`, "--memory", "128M");
    expectOneSentence(result, 128);
    expect(result.stderr).not.toMatch(/reload|look again/);
    await outside.close();
  });

  it("whose QEMU is stopped is given up after a time-out, and runs on when it may", async () => {
    guest = await lab!.boot({ ramMiB: 512, crashkernelMiB: 0 });
    const pid = await pidOf(guest);
    doorman = await Doorman.before(guest.qmpPath, directory, 6, () => process.kill(pid, "SIGSTOP"));
    try {
      const result = await run("keep", "--once", `qmp:${doorman.path}`);
      expectOneSentence(result, 128);
      expect(result.stderr).toMatch(/did not answer ".*" within 10000 ms/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});
