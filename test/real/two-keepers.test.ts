/** Two keepers at one guest, each on a QMP socket of its own; and a QEMU that stands still as it is told to stop. */
import { connect, createServer, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { findQemuProcesses } from "../../src/targets/qemu/qemu-process.ts";
import { cli, cliJson, expectOneSentence, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("two keepers at one guest");
afterAll(() => lab?.close());

const DIMM = 128n << 20n;

describe.skipIf(!lab).each(["shared", "private"] as const)(
  "a guest with %s RAM and two QMP sockets",
  (ram) => {
    it("has one keeper at a time, and the second one is told so", async () => {
      await using guest = await lab!.bootLoaded({ ram });
      const target = `qmp:${guest.qmpPath}`;
      {
        await using other = await QemuMachine.open(guest.labQmpPath, { alone: true });
        await other.guest.plugDimm({ size: DIMM });
        for (const args of [
          ["keep", "--once", target],
          ["plug", target, "--memory", "128M"],
        ]) {
          const result = await cli(...args);
          expectOneSentence(result, 3);
          expect(result.stderr).toMatch(/^Another kdump-hotplug \(process \d+\) is at work on this guest/);
        }
        // Looking is free.
        expect((await cliJson("audit", target)).json).toMatchObject({ verdict: "inaccurate" });
        expect(await other.guest.status()).toBe("running");
      }
      expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
    });

    it("is not written to where an operator lets it run in our pause", async () => {
      await using guest = await lab!.bootLoaded({ ram });
      const access = ram === "private" ? "gdb" : "auto";
      await using ours = await QemuMachine.open(guest.qmpPath, { access });
      await using operator = await QemuGuest.open(guest.labQmpPath);
      const [{ start } = { start: 0n }] = await ours.memory.ranges();
      const before = await ours.memory.read(start + 0x1000n, 8);
      const pause = ours.paused(async () => {
        await operator.qmp.execute("cont");
        await ours.memory.write(start + 0x1000n, new Uint8Array(8).fill(0xa5));
      });
      await expect(pause).rejects.toMatchObject({ kind: "changed" });
      expect(await ours.memory.read(start + 0x1000n, 8)).toEqual(before);
      expect(await ours.guest.status()).toBe("running");
    });
  },
);

describe.skipIf(!lab)("a QEMU that stands still", () => {
  let directory = "";
  beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), "kdh-still-"))));
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it("as it is told to stop its guest lets the guest run when it goes on, whoever has gone by then", async () => {
    await using guest = await lab!.bootLoaded();
    await using outside = await QemuMachine.open(guest.labQmpPath);
    await outside.guest.plugDimm({ size: DIMM });
    const [qemu] = await findQemuProcesses(guest.qmpPath);
    const sockets: Socket[] = [];
    // A door that hands bytes on. QEMU keeps its side of the connection only as long as the program keeps its own.
    const door = createServer({ allowHalfOpen: true }, (client) => {
      const monitor = connect({ path: guest.qmpPath, allowHalfOpen: true });
      sockets.push(client, monitor);
      for (const socket of [client, monitor]) socket.on("error", () => undefined);
      client.on("data", (bytes: Buffer) => {
        if (bytes.includes('"stop"')) process.kill(qemu!.pid, "SIGSTOP");
        monitor.write(bytes);
      });
      monitor.on("data", (bytes: Buffer) => void (client.destroyed || client.write(bytes)));
      client.on("end", () => monitor.end());
      client.on("close", () => monitor.destroy());
      monitor.on("end", () => client.end());
    });
    const path = join(directory, "door");
    await new Promise<void>((resolve) => door.listen(path, resolve));
    const resumed = new Promise<void>((resolve) =>
      outside.guest.qmp.onEvent(({ event }) => void (event === "RESUME" && resolve())),
    );
    try {
      const result = await startCli(["keep", "--once", `qmp:${path}`]).result;
      expectOneSentence(result, 128);
      expect(result.stderr).toMatch(/did not answer "stop" .*"cont" was sent behind it/);
    } finally {
      process.kill(qemu!.pid, "SIGCONT");
    }
    await resumed;
    expect(await outside.guest.status()).toBe("running");
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => door.close(resolve));
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
    expect((await cliJson("keep", "--once", `qmp:${guest.qmpPath}`)).json).toMatchObject({
      verdict: "accurate",
    });
  });
});
