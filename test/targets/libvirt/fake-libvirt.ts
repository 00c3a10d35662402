/** A pretended libvirt: a `virsh` to be put first on PATH, and what it says, over a pretended QEMU (fake-guest.ts). */
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

import { QmpCommandError } from "../../../src/targets/qemu/qmp-errors.ts";
import { parseQmp, stringifyQmp } from "../../../src/targets/qemu/qmp-json.ts";
import { QmpClient } from "../../../src/targets/qemu/qmp.ts";
import { type FakeGuest, type FakeGuestOptions, startFakeGuest } from "../qemu/fake-guest.ts";

/** What a run of virsh, or a line in its interactive mode, gives. */
export interface Said {
  readonly stdout?: string;
  /** Without `error: `. */
  readonly error?: string;
}

/** One virsh that runs. */
export interface FakeVirsh {
  readonly pid: number;
  readonly args: readonly string[];
  /** Prints, as it is. */
  readonly print: (stdout: string) => void;
  readonly printBytes: (stdout: Uint8Array) => void;
  readonly printError: (stderr: string) => void;
}

/** What a test may answer itself. */
export type Answer = Said | "silence" | undefined;

export interface FakeLibvirtOptions {
  readonly guest?: FakeGuestOptions;
  readonly name?: string;
  readonly uri?: string;
  /** What comes first: `undefined` leaves the command to the pretended libvirt, "silence" never answers. */
  readonly answer?: (words: readonly string[], virsh: FakeVirsh) => Answer | Promise<Answer>;
}

export interface FakeLibvirt {
  readonly env: NodeJS.ProcessEnv;
  readonly directory: string;
  readonly guest: FakeGuest;
  /** Every command in words, end marks left out. */
  readonly calls: readonly (readonly string[])[];
  readonly virshes: readonly FakeVirsh[];
  /** From now on the domain does not run. */
  readonly shutDown: () => void;
  readonly stop: () => Promise<void>;
}

export const UUID = "6f1b9a3e-0c77-4d0e-9d50-3f8f6b1f6f01";
const ID = "7";
const PROMPT = "virsh # ";

/** Words of a line, as virsh reads them (vsh.c, vshCommandStringGetArg): single quotes, double quotes, backslashes. */
export function splitWords(line: string): readonly (readonly string[])[] {
  const commands: string[][] = [[]];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const c = line[at]!;
    if (quote === "'" ? c !== "'" : quote === '"' && c !== '"' && c !== "\\") {
      word = (word ?? "") + c;
    } else if (quote !== "" && c === quote) {
      quote = "";
    } else if (c === "\\") {
      word = (word ?? "") + (line[++at] ?? "");
    } else if (c === "'" || c === '"') {
      quote = c;
      word ??= "";
    } else if (c === " " || c === ";") {
      if (word !== undefined) commands.at(-1)!.push(word);
      word = undefined;
      if (c === ";") commands.push([]);
    } else {
      word = (word ?? "") + c;
    }
  }
  if (word !== undefined) commands.at(-1)!.push(word);
  return commands.filter((words) => words.length > 0);
}

/** Starts it: one domain that runs, `guest` unless told, with the number 7. */
export async function startFakeLibvirt(options: FakeLibvirtOptions = {}): Promise<FakeLibvirt> {
  const guest = await startFakeGuest(options.guest);
  const qmp = await QmpClient.connect(guest.path);
  const directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
  const { name = "guest", uri = "qemu:///system" } = options;
  const calls: (readonly string[])[] = [];
  const virshes: FakeVirsh[] = [];
  const listeners = new Set<FakeVirsh>();
  let runs = true;

  const answer = async (words: readonly string[], virsh: FakeVirsh): Promise<Said | "silence"> => {
    calls.push(words);
    const first = await options.answer?.(words, virsh);
    if (first !== undefined) return first;
    const [command = "", ...rest] = words;
    const named = rest.indexOf("--domain");
    const domain = named === -1 ? rest[0] : rest[named + 1];
    const isOurs = domain === name || domain === UUID || (domain === ID && runs);
    switch (command) {
      case "uri":
        return { stdout: `${uri}\n\n` };
      case "list":
        return { stdout: runs ? `${name}\n\n` : "\n" };
      case "domid":
        return isOurs ? { stdout: `${runs ? ID : "-"}\n\n` } : { error: `failed to get domain '${domain}'` };
    }
    if (!isOurs) return { error: `failed to get domain '${domain}'` };
    switch (command) {
      case "domname":
        return { stdout: `${name}\n\n` };
      case "domuuid":
        return { stdout: `${UUID}\n\n` };
      case "suspend":
        await qmp.execute("stop");
        return {};
      case "domstate":
        return { stdout: `${guest.state.running ? "running" : "paused"}\n\n` };
      case "resume":
        await qmp.execute("cont");
        return {};
      case "event":
        return "silence";
      case "qemu-monitor-event":
        listeners.add(virsh);
        return "silence";
      case "qemu-monitor-command":
        return { stdout: `${await monitor(qmp, rest[1] ?? "")}\n\n` };
      default:
        return { error: `unknown command: '${command}'` };
    }
  };

  const interactive = async (line: string, virsh: FakeVirsh): Promise<void> => {
    // Of a line that is longer than the terminal is thought to be wide readline shows the end.
    virsh.print(line.length < 72 ? `${line}\n` : `\r<${line.slice(-60)}\n`);
    for (const words of splitWords(line)) {
      const mark = words[0]?.startsWith("kdump-hotplug-end-") === true;
      const said = mark ? { error: `unknown command: '${words[0]}'` } : await answer(words, virsh);
      if (said === "silence") return await new Promise(() => undefined);
      if (said.error !== undefined) virsh.printError(`error: ${said.error}\n`);
      virsh.print(said.stdout ?? "");
    }
    virsh.print(PROMPT);
  };

  const serve = (socket: Socket): void => {
    const say = (message: object): void =>
      void (socket.destroyed || socket.write(`${JSON.stringify(message)}\n`));
    let virsh: FakeVirsh | undefined;
    let queue: Promise<void> = Promise.resolve();
    const begin = (pid: number, args: readonly string[]): void => {
      const started: FakeVirsh = {
        pid,
        args,
        printBytes: (stdout) => say({ bytes: Buffer.from(stdout).toString("base64") }),
        print: (stdout) => stdout !== "" && say({ stdout }),
        printError: (stderr) => say({ stderr }),
      };
      virsh = started;
      virshes.push(started);
      const words = args.filter((word) => word !== "--quiet");
      if (words.length === 0) {
        started.print(PROMPT);
        return;
      }
      // One argument is a line, several are the words of one command.
      const commands = words.length === 1 ? splitWords(words[0]!) : [words];
      queue = (async () => {
        let failed = false;
        for (const command of commands) {
          const said = await answer(command, started);
          if (said === "silence") return await new Promise(() => undefined);
          if (said.error !== undefined) started.printError(`error: ${said.error}\n`);
          failed ||= said.error !== undefined;
          started.print(said.stdout ?? "");
        }
        say({ exit: failed ? 1 : 0 });
      })();
    };
    let text = "";
    socket.on("data", (bytes) => {
      text += bytes.toString();
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- fake-virsh.mjs wrote it
        const message = JSON.parse(text.slice(0, end)) as {
          readonly pid?: number;
          readonly args?: readonly string[];
          readonly line?: string;
        };
        text = text.slice(end + 1);
        if (message.pid !== undefined) begin(message.pid, message.args ?? []);
        else if (message.line !== undefined) {
          const { line } = message;
          queue = queue.then(async () => await interactive(line, virsh!));
        } else queue = queue.then(() => say({ exit: 0 }));
      }
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      if (virsh !== undefined) listeners.delete(virsh);
    });
    sockets.add(socket);
  };
  const sockets = new Set<Socket>();
  const server = createServer(serve);
  const path = join(directory, "libvirt");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  qmp.onEvent(({ event, data, timestamp: { seconds, microseconds } }) => {
    const json = stringifyQmp(data);
    const at = `${seconds}.${String(microseconds).padStart(6, "0")}`;
    for (const virsh of listeners)
      virsh.print(`event ${event} at ${at} for domain '${name}': ${json === "{}" ? "<null>" : json}\n`);
  });

  const bin = join(directory, "bin");
  await mkdir(bin);
  const program = fileURLToPath(new URL("fake-virsh.mjs", import.meta.url));
  await writeFile(join(bin, "virsh"), `#!${process.execPath}\nimport(${JSON.stringify(program)});\n`);
  await chmod(join(bin, "virsh"), 0o755);
  return {
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"]}`, FAKE_LIBVIRT_SOCKET: path },
    directory,
    guest,
    calls,
    virshes,
    shutDown: () => void (runs = false),
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await qmp.close();
      await guest.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** `qemu-monitor-command`: QEMU's reply with an id of libvirt's making, errors too. */
async function monitor(qmp: QmpClient, text: string): Promise<string> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the session under test wrote it
  const { execute, arguments: args } = parseQmp(text) as {
    readonly execute: string;
    readonly arguments: Readonly<Record<string, unknown>>;
  };
  try {
    return stringifyQmp({ return: await qmp.execute(execute, args), id: "libvirt-42" });
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    return stringifyQmp({ id: "libvirt-42", error: { class: error.class, desc: error.desc } });
  }
}
