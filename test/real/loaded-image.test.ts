/** One guest with a loaded capture kernel, and everything short of a panic that the program can meet there. */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CaptureImage } from "../../src/image/locate.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import { loadCaptureKernel } from "../../src/lab/guest-actions.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { cli, cliJson, type CliResult, expectOneSentence, fieldsOf, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

/** Three commands at once, each of which opens `target`. */
async function runThree(target: string): Promise<readonly CliResult[]> {
  const commands = [
    ["keep", "--once", target],
    ["audit", target],
    ["plug", target, "--memory", "128M"],
  ];
  return await Promise.all(commands.map((args) => startCli(args).result));
}

const lab = await openLab("a guest with a loaded capture kernel");
afterAll(() => lab?.close());

const DIMM = 128n << 20n;

describe.skipIf(!lab)("a guest with a loaded capture kernel", () => {
  let guest: LabGuest;
  /** The lab's own connection: what it sees and does is not the program's doing. */
  let outside: QemuMachine;
  let target = "";
  let directory = "";

  beforeAll(async () => {
    guest = await lab!.bootLoaded();
    outside = await QemuMachine.open(guest.labQmpPath);
    target = `qmp:${guest.qmpPath}`;
    directory = await mkdtemp(join(tmpdir(), "kdh-image-"));
  });

  afterAll(async () => {
    await outside?.guest.close();
    await guest?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function image(): Promise<CaptureImage> {
    const audit = await auditMachine(outside, nodeSha256);
    if (!audit.image) throw new Error(`No image: ${audit.reason}`);
    return audit.image;
  }

  async function crashMemory(): Promise<Buffer> {
    const { crashMemory: where } = await image();
    const parts = where.ranges.map(({ start, end }) => outside.memory.read(start, Number(end - start)));
    return Buffer.concat(await Promise.all(parts));
  }

  async function hashOfCrashMemory(): Promise<string> {
    return createHash("sha256")
      .update(await crashMemory())
      .digest("hex");
  }

  it("is accurate, and every command reports in JSON", async () => {
    const { code, json } = await cliJson("audit", target);
    expect(code).toBe(0);
    expect(json).toMatchObject({
      target,
      verdict: "accurate",
      image: {
        state: "loaded",
        headerAddress: expect.stringMatching(/^0x[0-9a-f]+$/),
        headerCapacity: expect.any(Number),
        programHeaders: expect.any(Number),
        digest: "covers-header",
      },
      memory: { missing: [], stale: [] },
      cpus: { missing: [], present: 2, described: 2, possible: 8 },
    });
    const adopted = await cliJson("keep", "--once", target);
    expect(adopted.code).toBe(0);
    expect(adopted.json).toMatchObject({
      verdict: "accurate",
      cpus: { described: 8, undescribed: [] },
      before: { verdict: "accurate" },
      installed: { writes: expect.arrayContaining([expect.objectContaining({ what: "header" })]) },
    });
    const kept = await cliJson("keep", "--once", target);
    expect(kept.code).toBe(0);
    expect(kept.json).toMatchObject({
      verdict: "accurate",
      before: { verdict: "accurate" },
      installed: null,
    });
    const inspected = await cliJson("inspect", target);
    expect(inspected.code).toBe(0);
    expect(inspected.json["image"]).toMatchObject({
      ...fieldsOf(json["image"]),
      ...fieldsOf(kept.json["image"]),
    });
    expect(inspected.json["image"]).toHaveProperty("headers.0.p_type", 4);
  });

  it("gets two DIMMs plugged, header first", async () => {
    const text = await cli("plug", target, "--memory", "128M", "--count", "2");
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout.match(/plugged, the guest stood still for .*; the header is accurate/g)).toHaveLength(
      2,
    );
    const { code, json } = await cliJson("plug", target, "--memory", "128M");
    expect(code).toBe(0);
    expect(json).toMatchObject({
      target,
      plugged: [{ id: "kdh-mem2", bytes: Number(DIMM), pauseMicroseconds: expect.any(Number) }],
      after: { verdict: "accurate" },
    });
    expect((await cliJson("audit", target)).json).toMatchObject({ verdict: "accurate" });
    expect(await outside.guest.status()).toBe("running");
  });

  it("that an operator has paused stays paused while its header is made true", async () => {
    const dimm = await outside.guest.plugDimm({ size: DIMM });
    const token = await outside.guest.pause();
    const before = await cliJson("audit", target);
    expect(before.code).toBe(1);
    expect(before.json).toMatchObject({
      verdict: "inaccurate",
      memory: {
        missing: [
          {
            start: `0x${dimm.address.toString(16)}`,
            end: `0x${(dimm.address + DIMM).toString(16)}`,
            bytes: Number(DIMM),
          },
        ],
      },
    });
    const { code, json } = await cliJson("keep", "--once", target);
    expect(code).toBe(0);
    expect(json).toMatchObject({
      verdict: "accurate",
      before: { verdict: "inaccurate" },
      installed: {
        pauseMicroseconds: null,
        writes: expect.arrayContaining([expect.objectContaining({ what: "header" })]),
      },
    });
    expect(await outside.guest.status()).toBe("paused");
    await outside.guest.resume(token);
    expect((await cliJson("audit", target)).json).toMatchObject({ verdict: "accurate" });
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });

  it("whose QMP socket another client holds is named as busy and left alone", async () => {
    const before = await hashOfCrashMemory();
    await outside.guest.plugDimm({ size: DIMM });
    {
      await using holder = await QemuMachine.open(guest.qmpPath);
      // What it takes three Nodes to start on two cores and to find nothing.
      const starts = Math.max(...(await runThree(`${target}.not`)).map(({ ms }) => ms));
      for (const result of await runThree(target)) {
        expectOneSentence(result, 3);
        expect(result.stderr).toMatch(/another client holds it/);
        // 1.5 s are waited for the greeting.
        expect(result.ms - starts).toBeLessThan(2000);
      }
      expect(await holder.guest.status()).toBe("running");
    }
    expect(await hashOfCrashMemory()).toBe(before);
    expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
  });

  it("whose region table is gone is not written to, and is told to load again", async () => {
    const { digest } = await image();
    if (!("table" in digest)) throw new Error(`The digest is ${digest.state}`);
    const { address } = digest.table;
    const table = await outside.memory.read(address, 256);
    await outside.memory.write(address, new Uint8Array(256));
    try {
      // The header lacks nothing, and a panic would hang all the same: that must not be called accurate.
      for (const command of [["audit"], ["keep", "--once"]]) {
        const { code, json } = await cliJson(...command, target);
        expect.soft(code).toBe(3);
        expect.soft(json).toMatchObject({ verdict: "unknown", image: { digest: "not-found" } });
        expect.soft(json["reason"]).toMatch(/digest .* was not found .*; reload the capture kernel/);
      }
      await outside.guest.plugDimm({ size: DIMM });
      const devices = await outside.guest.memoryDevices();
      const before = await hashOfCrashMemory();
      const { code, json } = await cliJson("keep", "--once", target);
      expect
        .soft(json)
        .toMatchObject({ verdict: "inaccurate", installed: null, image: { digest: "not-found" } });
      expect.soft(code).toBe(1);
      const text = await cli("keep", "--once", target);
      expect.soft(text.stdout).toMatch(/digest was not found/);
      expect.soft(text.stdout).toMatch(/reload the capture kernel/);
      const plug = await cli("plug", target, "--memory", "128M");
      expect.soft(plug.code).not.toBe(0);
      expect.soft(plug.stderr).toMatch(/^Nothing was plugged\. .*reload the capture kernel/);
      expect.soft(await outside.guest.memoryDevices()).toEqual(devices);
      expect(await hashOfCrashMemory()).toBe(before);
      expect(await outside.guest.status()).toBe("running");
    } finally {
      await outside.memory.write(address, table);
    }
    expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
  });

  it("whose capture kernel has one bit flipped is broken, and is not written to", async () => {
    const { digest, headerAddress } = await image();
    if (!("table" in digest)) throw new Error(`The digest is ${digest.state}`);
    const largest = [...digest.table.regions].sort((a, b) => b.size - a.size)[0]!;
    expect(largest.address).not.toBe(headerAddress);
    const where = largest.address + BigInt(Math.floor(largest.size / 2));
    const byte = (await outside.memory.read(where, 1))[0]!;
    await outside.memory.write(where, Uint8Array.of(byte ^ 1));
    try {
      await outside.guest.plugDimm({ size: DIMM });
      const before = await hashOfCrashMemory();
      for (const command of [["audit"], ["keep", "--once"]]) {
        const { code, json } = await cliJson(...command, target);
        expect.soft(code).toBe(1);
        expect.soft(json).toMatchObject({ verdict: "broken", image: { digest: "mismatch" } });
        expect.soft(json["reason"]).toMatch(/would hang in purgatory; reload the capture kernel/);
      }
      const plug = await cli("plug", target, "--memory", "128M");
      expect.soft(plug.code).not.toBe(0);
      expect.soft(plug.stderr).toMatch(/^Nothing was plugged\. /);
      expect(await hashOfCrashMemory()).toBe(before);
      expect(await outside.guest.status()).toBe("running");
    } finally {
      await outside.memory.write(where, Uint8Array.of(byte));
    }
    expect((await cliJson("keep", "--once", target)).json).toMatchObject({ verdict: "accurate" });
  });

  it.each(["kexec_file_load", "kexec_load"] as const)(
    "loaded by %s can be inspected from files",
    async (load) => {
      await loadCaptureKernel(guest.agent, { load, acpiNoMemhotplug: true });
      const { headerAddress, header, crashMemory: where } = await image();
      const alive = fieldsOf((await cliJson("inspect", target)).json["image"]);
      const copy = join(directory, `${load}.mem`);
      const [range] = where.ranges;
      await outside.guest.qmp.execute("pmemsave", {
        val: range!.start,
        size: range!.end - range!.start,
        filename: copy,
      });
      const ofCopy = await cliJson("inspect", copy);
      expect(ofCopy.code).toBe(0);
      expect(ofCopy.json).toMatchObject({
        kind: "crash-memory",
        headerAddress: `0x${headerAddress.toString(16)}`,
        digest: alive["digest"],
        commandLine: alive["commandLine"],
        headers: alive["headers"],
      });
      const bare = join(directory, `${load}.header`);
      await writeFile(bare, encodeCoreHeader(header));
      const ofHeader = await cliJson("inspect", bare);
      expect(ofHeader.code).toBe(0);
      expect(ofHeader.json).toMatchObject({ kind: "core-header", headers: alive["headers"] });
      const text = await cli("inspect", bare);
      expect(text.stdout).toContain(`0x${header.programHeaders.at(-1)!.p_paddr.toString(16)}`);
    },
  );
});
