/** A guest whose capture kernel runs already: too late for everything, and to be told so. */
import { afterAll, describe, expect, it } from "vitest";
import { panic } from "../../src/lab/guest-actions.ts";
import { cli, cliJson, expectOneSentence } from "./cli.ts";
import { openLab } from "./lab.ts";

const lab = await openLab("a guest that has panicked");
afterAll(() => lab?.close());

describe.skipIf(!lab)("a guest that has panicked", () => {
  it("is unknown to audit and keep, and gets nothing plugged", async () => {
    await using guest = await lab!.bootLoaded();
    const target = `qmp:${guest.qmpPath}`;
    expect(await panic(guest)).toBe(true);
    for (const command of [["audit"], ["keep", "--once"]]) {
      const { code, json } = await cliJson(...command, target);
      expect.soft(code).toBe(3);
      expect.soft(json).toMatchObject({ verdict: "unknown" });
      expect.soft(json["reason"]).toMatch(/has panicked: its CPU note/);
    }
    const plug = await cli("plug", target, "--memory", "128M");
    expectOneSentence(plug, 3);
    expect(plug.stderr).toMatch(/^Nothing was plugged\. The guest has panicked/);
    await guest.agent.finish("capture");
  });
});
