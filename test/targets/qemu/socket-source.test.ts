/** Sockets that come and go behind a pattern. */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Listed } from "../../../src/keeper/service/source.ts";
import { isPattern, socketSource } from "../../../src/targets/qemu/socket-source.ts";

let directory = "";
const servers: Server[] = [];
const watches: Disposable[] = [];
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), "kdh-test-"))));
afterEach(async () => {
  for (const watching of watches.splice(0)) watching[Symbol.dispose]();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

async function listen(name: string): Promise<Server> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(directory, name), resolve));
  return server;
}

async function close(server: Server): Promise<void> {
  servers.splice(servers.indexOf(server), 1);
  await new Promise((resolve) => server.close(resolve));
}

/** Lists that came, of names within the directory. */
function follow(
  path: string,
  rescanMs = 60_000,
): { readonly lists: (readonly Listed[])[]; names: () => unknown } {
  const lists: (readonly Listed[])[] = [];
  watches.push(socketSource(path, { rescanMs }).watch((targets) => lists.push(targets)));
  return { lists, names: () => lists.at(-1)?.map(({ target }) => target.slice(`qmp:${directory}/`.length)) };
}

const soon = { timeout: 10_000, interval: 2 };

describe("a pattern", () => {
  test("stands for the sockets that match, and only for sockets", async () => {
    for (const name of ["b.sock", "a.sock", ".hidden.sock", "c.other"]) await listen(name);
    await writeFile(join(directory, "file.sock"), "");
    await symlink(join(directory, "a.sock"), join(directory, "link.sock"));
    await symlink(join(directory, "nothing"), join(directory, "dead.sock"));
    const { names } = follow(join(directory, "*.sock"));
    await vi.waitFor(() => expect(names()).toEqual(["a.sock", "b.sock", "link.sock"]), soon);
    const one = follow(join(directory, "?.sock"));
    await vi.waitFor(() => expect(one.names()).toEqual(["a.sock", "b.sock"]), soon);
    const hidden = follow(join(directory, ".h*.sock"));
    await vi.waitFor(() => expect(hidden.names()).toEqual([".hidden.sock"]), soon);
  });

  test("is told of a socket that comes, goes, and is another one, by the directory's own events", async () => {
    const { lists, names } = follow(join(directory, "*.sock"));
    await vi.waitFor(() => expect(lists).toEqual([[]]), soon);
    const server = await listen("a.sock");
    await vi.waitFor(() => expect(names()).toEqual(["a.sock"]), soon);
    const [{ token } = { token: "" }] = lists.at(-1)!;
    await close(server);
    await vi.waitFor(() => expect(names()).toEqual([]), soon);
    await listen("a.sock");
    await vi.waitFor(() => expect(names()).toEqual(["a.sock"]), soon);
    expect(lists.at(-1)![0]!.token).not.toBe(token);
  });

  test("may name a directory that comes later, goes, and is another one", async () => {
    const inner = join(directory, "guests");
    const { names } = follow(join(inner, "*.sock"), 10);
    await vi.waitFor(() => expect(names()).toEqual([]), soon);
    await mkdir(inner);
    await listen("guests/a.sock");
    await vi.waitFor(() => expect(names()).toEqual(["guests/a.sock"]), soon);
    await rename(inner, join(directory, "old"));
    await vi.waitFor(() => expect(names()).toEqual([]), soon);
    await mkdir(inner);
    await listen("guests/b.sock");
    await vi.waitFor(() => expect(names()).toEqual(["guests/b.sock"]), soon);
  });

  test("is only the last part of a path", () => {
    expect(() => socketSource("/run/*/qmp.sock")).toThrow(/only the last part of a path may be a pattern/);
    expect(isPattern("/run/guests[1]/a.sock")).toBe(false);
    expect(isPattern("/run/guests/[ab]?.sock")).toBe(true);
  });
});

describe("a plain path", () => {
  test("is listed whether it is there or not, with another token when it is another socket", async () => {
    const path = join(directory, "a.sock");
    const { lists } = follow(path);
    await vi.waitFor(() => expect(lists).toEqual([[{ target: `qmp:${path}`, token: "" }]]), soon);
    await listen("a.sock");
    await vi.waitFor(() => expect(lists.at(-1)![0]!.token).toMatch(/^\d+:\d+:\d+$/), soon);
    expect(lists.at(-1)![0]!.target).toBe(`qmp:${path}`);
  });
});

test("a watch that was ended tells nothing any more", async () => {
  const { lists } = follow(join(directory, "*"), 5);
  await vi.waitFor(() => expect(lists).toHaveLength(1), soon);
  watches.pop()![Symbol.dispose]();
  await listen("late");
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(lists).toHaveLength(1);
});
