/** `keep` while others act: somebody plugs, the guest loads other images and none, the guest ends. */
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { afterAll, describe, expect, it, vi } from "vitest";
import { loadCaptureKernel, unloadCommand } from "../../src/lab/guest-actions.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { auditMachine } from "../../src/keeper/audit.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type CliRun, startCli } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("keep");
afterAll(() => lab?.close());

const DIMM = 128n << 20n;

const LineSchema = v.object({
  event: v.string(),
  audit: v.optional(v.object({ verdict: v.string() })),
  before: v.optional(v.object({ memory: v.object({ missing: v.array(v.unknown()) }) })),
});
type Line = v.InferOutput<typeof LineSchema>;

/** The lines of a `keep --json` that is under way. */
function follow({ child }: CliRun): () => readonly Line[] {
  let text = "";
  child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
  return () =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line) => v.parse(LineSchema, JSON.parse(line)));
}

async function until(
  lines: () => readonly Line[],
  enough: (lines: readonly Line[]) => boolean,
): Promise<void> {
  await vi.waitUntil(() => enough(lines()), { timeout: 60_000, interval: 20 });
}

const lastVerdict = (lines: readonly Line[]): string | undefined =>
  lines.findLast(({ event }) => event === "verdict")?.audit?.verdict;
/** Installs of memory; those that only add the notes of CPUs come after each load. */
const installs = (lines: readonly Line[]): number =>
  lines.filter(({ event, before }) => event === "installed" && before!.memory.missing.length > 0).length;

describe.skipIf(!lab).each(["shared", "private"] as const)("a guest with %s RAM that is kept", (ram) => {
  it("has its header after whatever others do, until Ctrl-C", { timeout: 180_000 }, async () => {
    await using guest = await lab!.bootLoaded({ ram });
    const keep = startCli(["keep", `qmp:${guest.qmpPath}`, "--json"], 170_000);
    const lines = follow(keep);
    await until(lines, (all) => lastVerdict(all) === "accurate");

    await using others = await QemuGuest.open(guest.labQmpPath);
    const plugged = async (): Promise<void> => {
      const before = installs(lines());
      await others.plugDimm({ size: DIMM });
      await until(lines, (all) => installs(all) > before);
    };
    for (let i = 0; i < 3; i++) await plugged();

    // The guest's own loader describes all there is: nothing is left to install.
    await loadCaptureKernel(guest.agent, { load: "kexec_load", acpiNoMemhotplug: true });
    await plugged();

    await guest.agent.output(unloadCommand({ load: "kexec_load" }));
    await until(lines, (all) => lastVerdict(all) === "not-loaded");
    await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true });
    await until(lines, (all) => lastVerdict(all) === "accurate");
    await plugged();

    // Long enough for the hash that follows an install.
    await delay(1500);
    keep.child.kill("SIGINT");
    const { code, stderr } = await keep.result;
    expect({ code, stderr }).toEqual({ code: 130, stderr: "" });
    expect(lines().filter(({ event }) => event === "failed")).toEqual([]);
    expect(lastVerdict(lines())).toBe("accurate");
    expect(await others.status()).toBe("running");
    await using machine = await QemuMachine.open(guest.qmpPath);
    expect((await auditMachine(machine, nodeSha256)).verdict).toBe("accurate");
  });
});

describe.skipIf(!lab)("a guest that is kept and ends", () => {
  it("ends the keeper with exit code 128 and one sentence", async () => {
    await using guest = await lab!.bootLoaded();
    const keep = startCli(["keep", `qmp:${guest.qmpPath}`, "--json"]);
    const lines = follow(keep);
    await until(lines, (all) => lastVerdict(all) === "accurate");
    await using others = await QemuGuest.open(guest.labQmpPath);
    await others.qmp.execute("quit");
    const { code, stderr } = await keep.result;
    expect(code).toBe(128);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
