/** `keep` of many guests, and commands on what it keeps, over real sockets with pretended QEMUs. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SMALL, type SimulatedQemu, startSimulatedQemu } from "../targets/qemu/simulated-qemu.ts";
import type { FakeGuestOptions } from "../targets/qemu/fake-guest.ts";
import { ended } from "./ended.ts";
import { UnderWay } from "./under-way.ts";
import { PATIENCE } from "../patience.ts";

const DIMM = 128n << 20n;
let directory = "";
const guests: SimulatedQemu[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
  vi.stubEnv("KDUMP_HOTPLUG_RUNTIME_DIR", join(directory, "run"));
});
afterEach(async () => {
  for (const guest of guests.splice(0)) await guest.stop();
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true, force: true });
});

async function start(name: string, options: FakeGuestOptions = {}, spec = SMALL): Promise<SimulatedQemu> {
  const guest = await startSimulatedQemu(spec, { path: join(directory, name), ...options });
  guests.push(guest);
  return guest;
}

/** A first look reads all RAM through the monitor: on a machine that is busy with other things that takes seconds. */
const PATIENT = { timeout: 120_000 };

const target = (name: string): string => `qmp:${join(directory, name)}`;

describe("keep of a pattern", PATIENT, () => {
  test("takes in guests as they come, and picks them up again when they start again", async () => {
    await using keep = new UnderWay("keep", target("*.sock"));
    const a = await start("a.sock");
    await keep.until(/a\.sock: accurate/);
    const b = await start("b.sock");
    b.plug(DIMM);
    await keep.until(/b\.sock: installed: .* described; .* the guest stood still for 0\.3 ms/);
    expect(b.machine.judge()).toMatchObject({ outcome: "complete" });
    a.plug(DIMM);
    await keep.until(/a\.sock: installed: 0x/);
    expect(a.machine.judge()).toMatchObject({ outcome: "complete" });
    guests.splice(guests.indexOf(a), 1);
    await a.stop();
    await keep.until(/a\.sock: gone: .*(closed the connection|broke)/);
    const again = await start("a.sock");
    await keep.until(/a\.sock: found/, 2);
    again.plug(DIMM);
    await keep.until(/a\.sock: installed: 0x/, 2);
    expect(again.machine.judge()).toMatchObject({ outcome: "complete" });
    const started = performance.now();
    expect(await keep.interrupt()).toBe(130);
    expect(performance.now() - started).toBeLessThan(2000);
    expect(keep.stderr).toBe("");
    expect(await readdir(join(directory, "run"))).toEqual([]);
  });

  test("goes on where a guest closes in the middle of a command, or in the middle of a line", async () => {
    let breaks = false;
    const a = await start("a.sock", {
      handlers: {
        "query-hotpluggable-cpus": (_, socket) => {
          if (breaks) socket.destroy();
          breaks = false;
          return [];
        },
      },
    });
    const b = await start("b.sock");
    await using keep = new UnderWay("keep", target("*.sock"));
    await keep.until(/sock: accurate/, 2);
    breaks = true;
    a.plug(DIMM);
    await keep.until(/a\.sock: gone/);
    await keep.until(/a\.sock: installed: 0x/);
    expect(a.machine.judge()).toMatchObject({ outcome: "complete" });
    const socket = a.fake.connections.at(-1)!;
    expect(keep.stdout.match(/a\.sock: gone/g)).toHaveLength(1);
    socket.end('{"event": "RES');
    await keep.until(/a\.sock: gone/, 2);
    await keep.until(/a\.sock: found/, 3);
    b.plug(DIMM);
    await keep.until(/b\.sock: installed: 0x/);
    expect(keep.stdout).not.toMatch(/b\.sock: gone/);
  });

  test("goes on where a guest says what is no QMP, and tells of it", async () => {
    const a = await start("a.sock");
    await using keep = new UnderWay("keep", target("*.sock"), "--json");
    await keep.until(/"verdict":"accurate"/);
    a.fake.connections.at(-1)!.write("\u0000garbage\n");
    await keep.until(/"event":"gone","reason":"Peer at .* broke the QMP protocol/);
    await keep.until(/"event":"found"/, 2);
    for (const line of keep.stdout.trim().split("\n"))
      expect(JSON.parse(line)).toMatchObject({ schemaVersion: 1, target: target("a.sock") });
  });

  test("tells of a QEMU that stands still, keeps the others, and picks it up when it goes on", async () => {
    let stands = false;
    const a = await start("a.sock", { stands: () => stands });
    const b = await start("b.sock");
    await using keep = new UnderWay("keep", target("*.sock"));
    await keep.until(/sock: accurate/, 2);
    // Neither within a pause nor while memory is copied, whose end is waited for far longer than for an answer: after the
    // hash comes a look, and the next one is 5 s away.
    await keep.until(/sock: accurate \(The loaded capture kernel would be told the truth\)$/, 2);
    await delay(1000);
    stands = true;
    a.plug(DIMM);
    await delay(100);
    b.plug(DIMM);
    await keep.until(/b\.sock: installed: 0x/);
    expect(b.machine.judge()).toMatchObject({ outcome: "complete" });
    // A command may take 10 s.
    await keep.until(/a\.sock: unreachable: QEMU .* did not answer ".*" within 10000 ms/);
    b.plug(DIMM);
    await keep.until(/b\.sock: installed: 0x/, 2);
    stands = false;
    await keep.until(/a\.sock: installed: 0x/);
    expect(a.machine.judge()).toMatchObject({ outcome: "complete" });
    expect(keep.stdout).not.toMatch(/gone/);
  });

  test("is not kept from the others by a flood of events (10,000 a second for 10 s)", async () => {
    const [a, b] = [await start("a.sock"), await start("b.sock")];
    await using keep = new UnderWay("keep", target("*.sock"));
    await keep.until(/sock: accurate/, 2);
    const started = performance.now();
    let [plugs, described] = [0, 0];
    for (let sent = 0; sent < 100_000; await delay(1)) {
      // What a guest can make QEMU tell. As many as are due by now: a timer of 1 ms may come late. A machine that is busy with other things gets them later.
      const due = Math.min(100_000, sent + 200, (performance.now() - started) * 10);
      for (; sent < due; sent++) a.event("ACPI_DEVICE_OST");
      if (described < plugs && b.machine.judge().outcome === "complete") described++;
      if (described < plugs || sent < 20_000 * (plugs + 1)) continue;
      b.plug(DIMM);
      // The flooded one's own change is not lost among the events.
      if (++plugs === 1) a.plug(DIMM);
    }
    // Were it kept waiting until the flood ends, it would have none: 20 to 40 ms are usual, 1.7 s at a load of 14.
    expect(described).toBeGreaterThanOrEqual(2);
    await vi.waitUntil(() => [a, b].every(({ machine }) => machine.judge().outcome === "complete"), {
      timeout: 40_000,
    });
    // All was read, on the connection that there was at the start, and a change after it is answered.
    await vi.waitUntil(
      () => a.fake.connections.every(({ writableLength }) => writableLength === 0),
      PATIENCE,
    );
    a.plug(DIMM);
    await keep.until(/a\.sock: installed: 0x/, 2);
    expect(a.machine.judge()).toMatchObject({ outcome: "complete" });
    expect(keep.stdout).not.toMatch(/failed|gone|unreachable/);
    expect(keep.stderr).toBe("");
  });
});

describe("commands on a guest that is kept", PATIENT, () => {
  test.each([
    ["service", "*.sock"],
    ["foreground", "a.sock"],
  ])("say what they say without a keeper (%s)", async (_, name) => {
    const guest = await start("a.sock", {}, `${SMALL},dimm=128M`);
    const path = target("a.sock");
    const commands = [
      ["audit", path],
      ["inspect", path, "--json"],
      ["unplug", path, "dimm9"],
      ["audit", path, "--nagios"],
      ["plug", path, "--memory", "128M", "--frobnicate"],
    ];
    await ended("keep", "--once", path);
    const without = [];
    for (const args of commands) without.push(await ended(...args));
    {
      await using keep = new UnderWay("keep", target(name));
      await keep.until(/a\.sock: accurate/);
      const connections = guest.fake.connections.length;
      const within = [];
      for (const args of commands) within.push(await ended(...args));
      expect(within).toEqual(without);
      expect(within.map(({ code }) => code)).toEqual([0, 0, 2, 0, 2]);
      expect(guest.fake.connections).toHaveLength(connections);
    }
  });

  test("plug and unplug, header first and guest first as ever", async () => {
    const guest = await start("a.sock");
    await using keep = new UnderWay("keep", target("*.sock"));
    await keep.until(/a\.sock: accurate/);
    const plugged = await ended("plug", target("a.sock"), "--memory", "128M", "--count", "2");
    expect(plugged).toMatchObject({ code: 0, stderr: "" });
    expect(plugged.stdout).toMatch(/^kdh-mem0: 128 MiB plugged.*the header is accurate$/m);
    expect(plugged.stdout).toMatch(/^kdh-mem1: 128 MiB plugged/m);
    expect(guest.machine.dimms).toHaveLength(2);
    expect(guest.machine.judge()).toMatchObject({ outcome: "complete" });
    const gone = await ended("unplug", target("a.sock"), "kdh-mem0");
    expect(gone).toMatchObject({ code: 0, stderr: "" });
    // The service may have corrected it before the command did, which then has no time to tell.
    expect(gone.stdout).toMatch(
      /^kdh-mem0: 128 MiB removed(, the header described it for .* the guest stood still for .*)?; the header is accurate$/m,
    );
    expect(guest.machine.judge()).toMatchObject({ outcome: "complete" });
    expect(keep.stdout).not.toMatch(/failed|gone|unreachable/);
  });

  test("are refused as ever where somebody else has the socket", async () => {
    const guest = await start("a.sock");
    const { connect } = await import("node:net");
    const other = connect({ path: guest.path });
    await new Promise((resolve) => other.once("data", resolve));
    const { code, stderr } = await ended("audit", target("a.sock"));
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/another client holds it/),
    });
    other.destroy();
  });

  test("find no second keeper where there is one", async () => {
    await start("a.sock");
    await using keep = new UnderWay("keep", target("*.sock"));
    await keep.until(/a\.sock: accurate/);
    const { code, stderr } = await ended("keep", "--once", target("a.sock"));
    expect({ code, stderr }).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/another client holds/),
    });
  });
});

describe("keep of one plain target", PATIENT, () => {
  test("ends with its guest, exit code 128", async () => {
    const guest = await start("a.sock");
    await using keep = new UnderWay("keep", target("a.sock"));
    await keep.until(/a\.sock: accurate/);
    await guest.fake.stop();
    expect(await keep.code).toBe(128);
    expect(keep.stderr.trim().split("\n")).toHaveLength(1);
    expect(await readdir(join(directory, "run"))).toEqual([]);
  });

  test("goes on without a control socket where there can be none, and says so", async () => {
    await writeFile(join(directory, "run"), "");
    await start("a.sock");
    await using keep = new UnderWay("keep", target("a.sock"));
    await keep.until(/a\.sock: accurate/);
    expect(keep.stderr).toMatch(
      /^No control socket: .*; audit, plug and the like .* will find its socket busy\n$/,
    );
    expect(await keep.interrupt()).toBe(130);
  });
});

async function config(value: unknown): Promise<string> {
  const path = join(directory, "keep.json");
  await writeFile(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
}

describe("keep --config", PATIENT, () => {
  test("is read again on SIGHUP; a bad one is refused, and the one before is kept", async () => {
    for (const name of ["a.sock", "b.sock"]) await start(name);
    const path = await config({ targets: [target("a.sock")], lookEverySeconds: 0.5 });
    await using keep = new UnderWay("keep", "--config", path);
    await keep.until(/a\.sock: accurate/);
    await config({ targets: [target("b.sock"), "qmp:"] });
    keep.hangUp();
    await keep.said(
      /^Refused, and the configuration before is kept: .*keep\.json: targets\[1\]: Cannot use "qmp:"/m,
    );
    await config("{");
    keep.hangUp();
    await keep.said(/^Refused, .*keep\.json: it is no JSON/m);
    await rm(path);
    keep.hangUp();
    await keep.said(/^Refused, .*is not there/m);
    expect(keep.stdout).not.toMatch(/gone|b\.sock/);
    await config({ targets: [target("b.sock")], listen: "127.0.0.1:9807" });
    keep.hangUp();
    await keep.until(/a\.sock: gone: it is not wanted any more/);
    await keep.until(/b\.sock: accurate/);
    await keep.said(/listen changed, which is read at the start only: restart keep for that/);
    expect(await keep.interrupt()).toBe(130);
  });

  test.each([
    [{ targets: ["local"] }, /targets\[0\]: A service keeps guests from outside/],
    [{ targets: ["qmp:/run/*/a"] }, /targets\[0\]: Cannot use .* only the last part/],
    [{ target: [] }, /targets: it is missing; target: there is no such field/],
  ])("%j ends it at the start, exit code 2", async (value, words) => {
    const { code, stdout, stderr } = await ended("keep", "--config", await config(value));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(words);
  });

  test.each([
    [["keep"], /missing required argument 'target' \(or --config FILE\)/],
    [["keep", "sim:6.1", "sim:6.12", "--once"], /--once: only for one TARGET/],
    [["keep", "qmp:/run/*", "--header-address", "0x1000"], /--header-address: only for one TARGET/],
    [["keep", "sim:6.1", "local"], /run keep local beside it/],
    [["keep", "sim:6.1", "sim:6.12", "--dry-run"], /--dry-run: only for the target local/],
  ])("%j is refused, exit code 2", async (args, words) => {
    const { code, stdout, stderr } = await ended(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(words);
  });
});
