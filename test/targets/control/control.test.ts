/** The control socket: who may use it, what goes over it, and how it ends. */
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { listKeepers, runBy, runByKeeper, SilentKeeperError } from "../../../src/targets/control/client.ts";
import {
  controlDirectory,
  controlSockets,
  prepareControlSocket,
} from "../../../src/targets/control/directory.ts";
import {
  type CommandOutput,
  type ControlledKeeper,
  ControlServer,
} from "../../../src/targets/control/server.ts";
import { PATIENCE } from "../../patience.ts";

let directory = "";
const uid = process.getuid!();
const servers: AsyncDisposable[] = [];
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), "kdh-test-"))));
afterEach(async () => {
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const keeper = (run: ControlledKeeper<string>["run"]): ControlledKeeper<string> => ({
  targets: () => [{ target: "qmp:/a", state: "watched" }],
  find: async (target) => (target === "qmp:/a" ? "machine a" : undefined),
  run,
});

async function serve(run: ControlledKeeper<string>["run"] = async () => 0): Promise<string> {
  const server = await ControlServer.open(directory, uid, keeper(run));
  servers.push(server);
  return server.path;
}

function output(signal = new AbortController().signal): CommandOutput & { readonly said: string[] } {
  const said: string[] = [];
  return { print: (text) => said.push(`out ${text}`), say: (line) => said.push(`err ${line}`), signal, said };
}

describe("a keeper that does not say whether it has a target", () => {
  const silent: ControlledKeeper<string> = {
    targets: () => [{ target: "qmp:/a", state: "watched" }],
    find: () => new Promise(() => undefined),
    run: async () => 0,
  };

  test("is not taken for one that has not, and the next one is asked", async () => {
    const server = await ControlServer.open(directory, uid, silent);
    await expect(runBy(server.path, "qmp:/a", ["audit", "qmp:/a"], output())).rejects.toThrow(
      /did not answer within 2000 ms: it hangs, has just ended, or the machine is very busy; ask again$/,
    );
    const out = output();
    expect(await runByKeeper(directory, uid, "qmp:/a", ["audit", "qmp:/a"], out)).toBeUndefined();
    // What follows may fail because of it.
    expect(out.said).toEqual([expect.stringMatching(/^err The keeper at .* did not answer/)]);
    // It has a command under way for ever, and is left to the end of this process.
    void server[Symbol.asyncDispose]();
  });

  test("nor what it keeps, is listed as such, with the others", async () => {
    const path = await serve();
    const hanging = createServer(() => undefined);
    const hangs = path.replace(/keeper-\d+/, "keeper-1");
    await new Promise<void>((resolve) => hanging.listen(hangs, resolve));
    const keepers = await listKeepers(directory, uid);
    expect(keepers.find(({ socket }) => socket === path)).toMatchObject({ targets: [{ target: "qmp:/a" }] });
    expect(keepers.find(({ socket }) => socket === hangs)?.targets).toBeInstanceOf(SilentKeeperError);
    hanging.close();
  });
});

describe("the directory of control sockets", () => {
  test("is found without being told", () => {
    expect(controlDirectory({}, 0)).toBe("/run/kdump-hotplug");
    expect(controlDirectory({ XDG_RUNTIME_DIR: "/run/user/7" }, 7)).toBe("/run/user/7/kdump-hotplug");
    // Root's is where other commands of root find it, whoever's session they run in.
    expect(controlDirectory({ XDG_RUNTIME_DIR: "/run/user/7" }, 0)).toBe("/run/kdump-hotplug");
    expect(controlDirectory({}, 7)).toBe(join(tmpdir(), "kdump-hotplug-7"));
    expect(controlDirectory({ KDUMP_HOTPLUG_RUNTIME_DIR: "/d" }, 7)).toBe("/d");
  });

  test("is made for its user alone, and so is each socket", async () => {
    const path = await serve();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await chmod(directory, 0o755);
    await expect(controlSockets(directory, uid)).rejects.toThrow(/its mode is 755, and others may enter/);
    // Who begins there closes it again.
    await prepareControlSocket(directory, uid);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  test("of somebody else, and one that cannot be made, are refused with the reason", async () => {
    await expect(prepareControlSocket(directory, uid + 1)).rejects.toThrow(/it belongs to user \d+, not \d+/);
    await writeFile(join(directory, "file"), "");
    await expect(prepareControlSocket(join(directory, "file/x"), uid)).rejects.toThrow(
      /No control socket: .* cannot be made/,
    );
    await expect(prepareControlSocket(join(directory, "file"), uid)).rejects.toThrow(
      /cannot be made|no directory/,
    );
  });

  test("loses the sockets of keepers that have ended, and no others", async () => {
    const [, namespace] = (await serve()).match(/\.(\d+)\.sock$/)!;
    const dead = `keeper-4194305.${namespace}.sock`;
    const foreign = `keeper-4194305.1.sock`;
    for (const name of [dead, foreign, "other"]) await writeFile(join(directory, name), "");
    await prepareControlSocket(directory, uid);
    expect((await readdir(directory)).toSorted()).toEqual([foreign, "other"]);
  });
});

describe("a command that a keeper carries out", () => {
  test("gets its output and its exit code, line by line", async () => {
    const ran: unknown[] = [];
    await serve(async (kept, args, { print, say }) => {
      ran.push(kept, args);
      print("a\nb\n");
      say("careful");
      return 3;
    });
    const out = output();
    expect(await runByKeeper(directory, uid, "qmp:/a", ["audit", "qmp:a"], out)).toBe(3);
    expect(out.said).toEqual(["out a\nb\n", "err careful"]);
    expect(ran).toEqual(["machine a", ["audit", "qmp:a"]]);
  });

  test("is none where no keeper has the target, nobody listens, or there is no directory", async () => {
    await serve();
    await writeFile(join(directory, "keeper-1.1.sock"), "");
    expect(await runByKeeper(directory, uid, "qmp:/b", ["audit"], output())).toBeUndefined();
    expect(await runByKeeper(join(directory, "none"), uid, "qmp:/a", ["audit"], output())).toBeUndefined();
    expect(await listKeepers(directory, uid)).toMatchObject([
      { targets: [{ target: "qmp:/a", state: "watched" }] },
    ]);
  });

  test("is interrupted by Ctrl-C on the other side, and waited for", async () => {
    await serve(async (_, __, { say, signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      say("undone");
      return 130;
    });
    const stop = new AbortController();
    const out = output(stop.signal);
    const code = runByKeeper(directory, uid, "qmp:/a", ["plug"], out);
    setTimeout(() => stop.abort(), 20);
    expect(await code).toBe(130);
    expect(out.said).toEqual(["err undone"]);
  });

  test("is interrupted where its client is gone", async () => {
    let ended = false;
    const path = await serve(async (_, __, { signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      ended = true;
      return 0;
    });
    const socket = connect({ path });
    socket.write('{"protocol":1,"request":"run","target":"qmp:/a","args":[]}\n');
    await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    await vi.waitFor(() => expect(ended).toBe(true), PATIENCE);
  });

  test("is ended with its keeper, and told so", async () => {
    const begun = vi.fn<() => void>();
    await serve(async (_, __, { signal }) => {
      begun();
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return 130;
    });
    const code = runByKeeper(directory, uid, "qmp:/a", ["plug"], output());
    await vi.waitFor(() => expect(begun).toHaveBeenCalled(), PATIENCE);
    await servers.pop()![Symbol.asyncDispose]();
    expect(await code).toBe(130);
    expect(await readdir(directory)).toEqual([]);
  });

  test("of a keeper that dies is not known to have ended", async () => {
    const path = await serve();
    await servers.pop()![Symbol.asyncDispose]();
    const dying = createServer((socket) => {
      socket.write('{"kept":true}\n{"print":"half"}\n');
      socket.once("data", () => socket.end());
    });
    await new Promise<void>((resolve) => dying.listen(path, resolve));
    const out = output();
    await expect(runByKeeper(directory, uid, "qmp:/a", ["plug"], out)).rejects.toThrow(
      /ended before its command had: what became of it is not known; run audit$/,
    );
    await new Promise((resolve) => dying.close(resolve));
  });
});

describe("what is no request", () => {
  test.each([
    ["garbage\n", /no JSON/],
    ['{"protocol":2,"request":"list"}\n', /\(protocol 1\) does not know: protocol: /],
    ['{"protocol":1,"request":"format-disk"}\n', /does not know/],
    ["x".repeat(70_000), /longer than/],
    ['{"protocol":1,"request":"run","target":"qmp:/a","args":[]}\n'.repeat(2), /second command/],
  ])("%# is refused, and the keeper goes on", async (text, words) => {
    const path = await serve(async (_, __, { signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return 0;
    });
    const socket = connect({ path });
    let heard = "";
    socket.on("data", (bytes: Buffer) => (heard += bytes.toString()));
    socket.on("error", () => undefined);
    socket.write(text);
    await new Promise((resolve) => socket.once("close", resolve));
    expect(heard).toMatch(words);
    expect(await listKeepers(directory, uid)).toHaveLength(1);
  });

  test("of a keeper of another version is told", async () => {
    const path = await serve();
    await servers.pop()![Symbol.asyncDispose]();
    const newer = createServer((socket) => {
      socket.resume().end('{"error":"protocol 2 only"}\n');
    });
    await new Promise<void>((resolve) => newer.listen(path, resolve));
    await expect(runByKeeper(directory, uid, "qmp:/a", ["audit"], output())).rejects.toThrow(
      /refused: protocol 2 only; it may be of another version: restart it/,
    );
    await new Promise((resolve) => newer.close(resolve));
  });
});

test("a directory with a stranger's file is no trouble", async () => {
  await mkdir(join(directory, "keeper-x"));
  expect(await controlSockets(directory, uid)).toEqual([]);
});
