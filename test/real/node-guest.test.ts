/** A guest with Node inside runs our own built program: what the target `local` is tested in. */
import { afterAll, describe, expect, it } from "vitest";
import { runProgram, text } from "../../src/lab/guest-process.ts";
import { GUEST_KDUMP_HOTPLUG, GUEST_NODE } from "../../src/lab/node.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("Node in a guest", "6.1", { node: true });
afterAll(() => lab?.close());
const LIMIT_MS = 60_000;

describe.skipIf(!lab)("a guest with Node", () => {
  it("runs the Node that runs here, and our program", async () => {
    await using guest = await lab!.boot();
    const { agent } = guest;
    const version = await runProgram(agent, [GUEST_NODE, "--version"], LIMIT_MS);
    expect(version.status).toBe(0);
    expect(text(version.stdout)).toBe(`${process.version}\n`);
    const help = await runProgram(agent, [GUEST_KDUMP_HOTPLUG, "audit", "--help"], LIMIT_MS);
    expect(text(help.stderr)).toBe("");
    expect(text(help.stdout)).toMatch(/^Usage: kdump-hotplug audit /);
    expect(help.status).toBe(0);
    await agent.finish("guest");
  });
});
