/** Ctrl-C at any moment: no paused guest, no half-written header, nothing left in QEMU or on disk. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { segmentHolding } from "../../src/image/kimage.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import { seededRandom } from "../../src/simulation/random.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { queryChardevs } from "../../src/targets/qemu/replies.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type CliResult, type CliRun, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("interrupted commands");
afterAll(() => lab?.close());

const SEED = 20201214;
const DIMM = 128n << 20n;

/** Everything that an install may change: the header's segment and purgatory's, as one piece of text. */
interface State {
  readonly parts: readonly { readonly address: bigint; readonly bytes: Uint8Array }[];
  readonly text: string;
}

async function readState(outside: QemuMachine, parts?: State["parts"]): Promise<State> {
  let spans = parts?.map(({ address, bytes }) => ({ address, size: bytes.length }));
  if (!spans) {
    const { image } = await auditMachine(outside, nodeSha256);
    if (!image?.kimage) throw new Error("No image is loaded");
    spans = [
      { address: image.headerAddress, size: image.headerCapacity },
      segmentHolding(image.kimage.segments, image.kimage.entry)!,
    ];
  }
  const read = [];
  for (const { address, size } of spans)
    read.push({ address, bytes: await outside.memory.read(address, size) });
  return { parts: read, text: read.map(({ bytes }) => Buffer.from(bytes).toString("base64")).join(" ") };
}

/** Sends SIGINT at the wanted moment and checks how the program ended. */
async function interrupted(run: CliRun, moment: Promise<unknown>): Promise<CliResult> {
  await Promise.race([moment, run.result]);
  run.child.kill("SIGINT");
  const result = await run.result;
  // Before Node has read the program, SIGINT ends Node: nothing was begun then.
  expect.soft([0, 130, "SIGINT"], result.stderr).toContain(result.signal ?? result.code);
  expect.soft(result.stderr).toBe(result.code === 130 ? "Interrupted; nothing was left half done\n" : "");
  return result;
}

async function expectNothingLeftBehind(outside: QemuMachine): Promise<void> {
  expect.soft(await outside.guest.status()).toBe("running");
  expect.soft((await queryChardevs(outside.guest.qmp)).map(({ label }) => label)).not.toContain("gdb");
  expect.soft(await readdir(temporary)).toEqual([]);
}

/** The program's own temporary directory: it has to be empty afterwards. */
let temporary = "";
beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), "kdh-int-"));
});
afterAll(() => rm(temporary, { recursive: true, force: true }));

function start(args: readonly string[]): CliRun {
  return startCli(args, undefined, { TMPDIR: temporary });
}

describe.skipIf(!lab).each(["shared", "private"] as const)("with %s RAM, Ctrl-C", (ram) => {
  // The longest pause: without a shared file, and through QEMU alone.
  const reach = ram === "private" ? ["--through-qemu"] : [];

  it("leaves the old header or the new one, and a guest that runs", async () => {
    await using guest = await lab!.bootLoaded({ ram });
    await using outside = await QemuMachine.open(guest.labQmpPath);
    const keep = ["keep", "--once", `qmp:${guest.qmpPath}`, ...reach];
    await outside.guest.plugDimm({ size: DIMM });
    const before = await readState(outside);
    const { code, ms, stderr } = await start(keep).result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const after = await readState(outside, before.parts);
    expect(after.text).not.toBe(before.text);

    const random = seededRandom(SEED);
    const rounds = ram === "shared" ? 14 : 6;
    const seen = { old: 0, new: 0 };
    for (let round = 0; round < rounds; round++) {
      for (const { address, bytes } of before.parts) await outside.memory.write(address, bytes);
      // Every other time right into the pause, which a random moment would hardly ever meet.
      const stopped = outside.guest.qmp.waitForEvent("STOP", { timeoutMs: 30_000 });
      stopped.catch(() => undefined);
      const run = start(keep);
      const moment =
        round % 2 === 0 ? delay(ms * (0.2 + 0.6 * random())) : stopped.then(() => delay(4 * random()));
      const result = await interrupted(run, moment);
      await expectNothingLeftBehind(outside);
      const now = await readState(outside, before.parts);
      const possible = result.code === 0 ? [after.text] : [before.text, after.text];
      expect.soft(possible, `round ${round}`).toContain(now.text);
      seen[now.text === after.text ? "new" : "old"]++;
    }
    console.log(`${ram} RAM: ${seen.old} interrupts left the old header, ${seen.new} the new one`);
    expect(["accurate", "inaccurate"]).toContain((await auditMachine(outside, nodeSha256)).verdict);
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });

  it("leaves a DIMM that the header describes, or none", async () => {
    await using guest = await lab!.bootLoaded({ ram });
    await using outside = await QemuMachine.open(guest.labQmpPath);
    const plug = ["plug", `qmp:${guest.qmpPath}`, "--memory", "128M", ...reach];
    const { code, ms, stderr } = await start(plug).result;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const random = seededRandom(SEED);
    for (let round = 0; round < (ram === "shared" ? 6 : 3); round++) {
      const stopped = outside.guest.qmp.waitForEvent("STOP", { timeoutMs: 30_000 });
      stopped.catch(() => undefined);
      const run = start(plug);
      await interrupted(
        run,
        round % 2 === 0 ? delay(ms * (0.2 + 0.6 * random())) : stopped.then(() => delay(4 * random())),
      );
      await expectNothingLeftBehind(outside);
      const audit = await auditMachine(outside, nodeSha256);
      expect.soft(audit.verdict, `round ${round}: ${audit.reason}`).toBe("accurate");
      const devices = await outside.guest.memoryDevices();
      const backends = await outside.guest.qmp.execute<unknown[]>("query-memdev");
      expect.soft(backends).toHaveLength(1 + (Array.isArray(devices) ? devices.length : Number.NaN));
    }
    expect(await guest.agent.output("echo alive")).toBe("alive\n");
  });
});
