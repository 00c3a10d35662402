/** Sockets behind which there is no machine: the real program, and no QEMU. */
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FakePeer, startPeer } from "../targets/qemu/fake-qmp.ts";
import { cli, expectOneSentence } from "../real/cli.ts";

let directory = "";
const peers: FakePeer[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-cli-"));
});

afterAll(async () => {
  for (const peer of peers) await peer.stop();
  await rm(directory, { recursive: true, force: true });
});

async function peerThat(serve: Parameters<typeof startPeer>[0]): Promise<string> {
  const started = await startPeer(serve);
  peers.push(started);
  return started.path;
}

/** A socket file without its server. */
async function orphan(): Promise<string> {
  const path = join(directory, "live");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await symlink(path, join(directory, "orphan"));
  await new Promise((resolve) => server.close(resolve));
  return join(directory, "orphan");
}

async function file(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  return path;
}

/** What is wrong, how to make it, the exit code, words that the sentence must have. */
const SOCKETS: readonly (readonly [string, () => Promise<string>, number, RegExp])[] = [
  ["no such socket", async () => join(directory, "absent"), 2, /No socket at .*start QEMU with -qmp/],
  [
    "a directory on the way that is a file",
    async () => join(await file("plain", "x"), "sock"),
    2,
    /No socket at/,
  ],
  ["a file that is no socket", async () => file("text", "hello\n"), 2, /is not a socket/],
  ["a directory", async () => directory, 2, /is not a socket/],
  ["a link that leads nowhere", orphan, 2, /leads nowhere/],
  [
    "a path that is too long for a socket",
    async () => join(directory, "x".repeat(120)),
    2,
    /use a shorter one/,
  ],
  [
    "a socket that sends garbage",
    async () => peerThat((s) => void s.write("\u0000\u0001garbage\n")),
    2,
    /does not speak QMP/,
  ],
  [
    "a socket that sends JSON of another kind",
    async () => peerThat((s) => void s.write('{"hello": 1}\n')),
    2,
    /does not speak QMP/,
  ],
  [
    "a socket that never ends its line",
    async () => peerThat((s) => void s.write("x".repeat(70_000))),
    2,
    /does not speak QMP/,
  ],
  ["a socket that hangs up at once", async () => peerThat((s) => void s.destroy()), 2, /does not speak QMP/],
  ["a socket that is silent", async () => peerThat(() => undefined), 3, /another client holds it/],
];

describe("a TARGET whose socket leads to no machine", () => {
  it.each(SOCKETS)("%s ends with one sentence", async (_what, make, code, words) => {
    const path = await make();
    for (const command of [["audit"], ["keep", "--once"]]) {
      const result = await cli(...command, `qmp:${path}`);
      expectOneSentence(result, code);
      expect.soft(result.stderr).toMatch(words);
      expect.soft(result.stdout).toBe("");
      expect.soft(result.ms).toBeLessThan(10_000);
    }
  });
});
