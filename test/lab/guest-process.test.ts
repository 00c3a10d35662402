/** Programs in a guest, with this machine's bash in place of the guest's shell: the same lines of shell, run for real. */
import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import { AgentChannel } from "../../src/lab/channel.ts";
import { GuestProgramError } from "../../src/lab/errors.ts";
import { GuestProcess, runProgram, text } from "../../src/lab/guest-process.ts";
import { startPeer } from "../targets/qemu/fake-qmp.ts";

const LIMIT_MS = 20_000;
const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

/** An agent as in agent.ts: one command at a time, with the serial line as descriptor 3. */
async function bashAgent(commands: string[] = []): Promise<AgentChannel> {
  const peer = await startPeer((socket) => {
    let rest = "";
    socket.on("data", (bytes: Buffer) => {
      rest += bytes.toString();
      for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
        const [, id = "", command = ""] = /^(\d+) (.*)$/.exec(rest.slice(0, end)) ?? [];
        rest = rest.slice(end + 1);
        commands.push(command);
        const { status, stdout } = spawnSync("bash", ["-c", `exec 3>/dev/null; { ${command}\n} 2>&1`], {
          stdio: ["ignore", "pipe", "inherit"],
          maxBuffer: 1 << 25,
        });
        socket.write(`reply ${id} ${status} ${stdout.length}\n`);
        socket.write(stdout);
      }
    });
  });
  cleanUps.push(peer.stop);
  const agent = await AgentChannel.connect(peer.path, undefined);
  cleanUps.push(async () => agent[Symbol.asyncDispose]());
  return agent;
}

/** What `sh -c` is given to run `line`. */
function shell(line: string): readonly string[] {
  return ["sh", "-c", line];
}

/** Whether a process of this machine runs. One that nobody has waited for yet is listed, but has ended. */
async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "latin1").catch(() => "");
  return /^\d+ \(.*\) [^ZX]/s.test(stat);
}

/** Pids of processes of this machine with `word` in their command line. */
async function processesWith(word: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (line.includes(word)) found.push(pid);
  }
  return found;
}

test("a program's status, output and errors come apart, whatever is in them", async () => {
  const agent = await bashAgent();
  const end = await runProgram(
    agent,
    shell(String.raw`printf 'a\000\377\n'; printf '\001b' >&2; exit 3`),
    LIMIT_MS,
  );
  expect(end.status).toBe(3);
  expect([...end.stdout]).toEqual([0x61, 0, 0xff, 0x0a]);
  expect([...end.stderr]).toEqual([1, 0x62]);
});

test("its arguments arrive as they were given", async () => {
  const agent = await bashAgent();
  const words = ["", " a  b ", "it's", '$HOME `id` "\\', "*", "-n", "é", "a;b&c|d>e"];
  const { stdout } = await runProgram(agent, ["printf", "<%s>", ...words], LIMIT_MS);
  expect(text(stdout)).toBe(words.map((word) => `<${word}>`).join(""));
  await expect(runProgram(agent, ["echo", "two\nlines"], LIMIT_MS)).rejects.toThrow(/one line of shell/);
});

test("a program that is not there ends with 127, and its shell says why", async () => {
  const { status, stderr } = await runProgram(await bashAgent(), ["/nonexistent/program"], LIMIT_MS);
  expect(status).toBe(127);
  expect(text(stderr)).toContain("/nonexistent/program");
});

test("megabytes arrive whole", async () => {
  const { stdout, stderr } = await runProgram(
    await bashAgent(),
    shell("seq 1 400000; seq 1 1000 >&2"),
    LIMIT_MS,
  );
  expect(stdout.length).toBe(2_688_895);
  expect(text(stdout.slice(-14))).toBe("399999\n400000\n");
  expect(text(stderr.slice(-9))).toBe("999\n1000\n");
});

test("more output than the lab takes is an error that says how much", async () => {
  const program = runProgram(await bashAgent(), shell("head -c 9000000 /dev/zero"), LIMIT_MS);
  await expect(program).rejects.toThrow(
    /printed 9000000 bytes and 0 of errors, more than the lab takes \(8388608\)$/,
  );
});

test("its standard input is empty, and it does not hold the agent's serial line", async () => {
  const line = "wc -c; [ ! -e /proc/$$/fd/3 ] && echo free";
  expect(text((await runProgram(await bashAgent(), shell(line), LIMIT_MS)).stdout)).toBe("0\nfree\n");
});

test("one in the background can be looked at, and waited for until it prints something", async () => {
  const agent = await bashAgent();
  const program = await GuestProcess.start(agent, shell("echo one; sleep 0.3; echo two >&2; exec sleep 100"));
  expect(await isAlive(program.pid)).toBe(true);
  expect(text((await program.printed(/one/, LIMIT_MS)).stdout)).toBe("one\n");
  const both = await program.printed(/two/, LIMIT_MS);
  expect([text(both.stdout), text(both.stderr)]).toEqual(["one\n", "two\n"]);
  expect(text(Buffer.from(await agent.output("echo other")))).toBe("other\n");
  await expect(program.printed(/three/, 200)).rejects.toThrow(
    /did not print \/three\/ within 0\.2 s: one\ntwo$/,
  );
  expect(await program.signal("KILL")).toBe(true);
  expect((await program.end(LIMIT_MS)).status).toBe(128 + 9);
});

test("one that ends without printing what was waited for says so at once", async () => {
  const program = await GuestProcess.start(await bashAgent(), shell("echo no; exit 5"));
  await expect(program.printed(/yes/, LIMIT_MS)).rejects.toThrow(
    /ended with status 5 and never printed \/yes\/: no$/,
  );
  expect((await program.end(LIMIT_MS)).status).toBe(5);
});

test("a signal reaches the program itself, which may answer it", async () => {
  const program = await GuestProcess.start(
    await bashAgent(),
    shell('trap "echo asked; exit 7" TERM; echo ready; while :; do sleep 0.05; done'),
  );
  await program.printed(/ready/, LIMIT_MS);
  expect(await program.signal("TERM")).toBe(true);
  const end = await program.end(LIMIT_MS);
  expect(end.status).toBe(7);
  expect(text(end.stdout)).toBe("ready\nasked\n");
  expect(await program.signal("TERM")).toBe(false);
  expect(await program.end(LIMIT_MS)).toBe(end);
});

test("one that does not end in time is killed with what it started, and its last words are told", async () => {
  const agent = await bashAgent();
  const program = await GuestProcess.start(agent, shell("trap : TERM; sleep 100 & echo $!; wait; wait"));
  const child = Number(text((await program.printed(/\d+\n/, LIMIT_MS)).stdout));
  const end = program.end(300);
  await expect(end).rejects.toThrow(GuestProgramError);
  await expect(end).rejects.toThrow(
    /^In the guest, "sh -c .*" did not end within 0\.3 s, and was killed: \d+$/,
  );
  expect(await isAlive(program.pid)).toBe(false);
  await expect.poll(() => isAlive(child)).toBe(false);
});

test("nothing is left in the guest after its end: neither files nor the shell that waited for it", async () => {
  const agent = await bashAgent();
  const word = `of-test-${process.pid}`;
  const program = await GuestProcess.start(agent, shell(`exit 0 # ${word}`));
  expect(await processesWith(word)).not.toEqual([]);
  // It has ended before anybody waits.
  await expect.poll(() => program.signal("CONT"), { timeout: LIMIT_MS }).toBe(false);
  const list = "ls -d /tmp/program.* 2>/dev/null; true";
  const before = await agent.output(list);
  await program.end(LIMIT_MS);
  await expect.poll(() => processesWith(word), { timeout: LIMIT_MS }).toEqual([]);
  expect((await agent.output(list)).length).toBeLessThan(before.length);
});
