/** The keeper from inside, with all of the agent but the kernel: re-arms, loads in full, and everything that goes wrong. */
import { afterEach, describe, expect, test } from "vitest";
import { FullLoadError, ROOM_FOR_RANGES } from "../../../src/keeper/inside.ts";
import { BLOCK, machineOf } from "../../simulation/sim.ts";
import { InsideSim } from "./inside-sim.ts";

let sim: InsideSim;
afterEach(() => sim[Symbol.asyncDispose]());

async function simOf(text: string): Promise<InsideSim> {
  sim = await InsideSim.of(machineOf(text));
  return sim;
}

/** What a panic now gives. */
const outcome = (): string => sim.machine.judge().outcome;

const EPERM = 1;
const EBUSY = 16;
const EINVAL = 22;

describe.each(["5.10", "5.10,load=kexec_load", "6.1", "6.1,load=kexec_load", "6.12,load=kexec_load"])(
  "%s",
  (text) => {
    test("is re-armed when memory comes, when a CPU comes, and when memory goes", async () => {
      await simOf(text);
      expect(await sim.update()).toBeUndefined();
      expect(sim.loads).toEqual([]);
      const changes: readonly (() => unknown)[] = [
        () => sim.machine.plugDimm(2n * BLOCK),
        () => sim.machine.addCpu(),
        () => sim.machine.plugDimm(BLOCK),
        () => sim.machine.unplug("dimm0"),
      ];
      const ways: unknown[] = [];
      for (const change of changes) {
        change();
        ways.push((await sim.update())?.way);
        expect.soft(outcome(), String(change)).toBe("complete");
      }
      // A note for every possible CPU comes with the first re-arm.
      expect(ways).toEqual(["re-arm", undefined, "re-arm", "re-arm"]);
      expect(await sim.update()).toBeUndefined();
      expect(sim.loads).toEqual(Array(3).fill("kexec_load"));
    });
  },
);

describe("memory that is offline", () => {
  test("is described when it comes, and nothing is left to do when it comes online", async () => {
    await simOf("6.1,manual-online");
    sim.machine.plugDimm(4n * BLOCK);
    expect(await sim.update()).toMatchObject({ way: "re-arm" });
    sim.machine.online("dimm0");
    expect(outcome()).toBe("complete");
    expect(await sim.update()).toBeUndefined();
  });

  test("is left alone where the kernel keeps the header: its handler is called when blocks come online", async () => {
    await simOf("6.12,manual-online");
    sim.machine.plugDimm(4n * BLOCK);
    expect(await sim.update()).toBeUndefined();
    sim.machine.online("dimm0");
    expect(await sim.update()).toBeUndefined();
    expect(outcome()).toBe("complete");
    expect(sim.loads).toEqual([]);
  });
});

describe("a kernel that keeps the header true itself", () => {
  test("is left to do so, and corrected where it does not", async () => {
    await simOf("6.12");
    sim.machine.plugDimm(BLOCK);
    expect(await sim.update()).toBeUndefined();
    expect(sim.loads).toEqual([]);
    // Its handler does not hear of the removal itself.
    sim.machine.unplug("dimm0");
    expect(await sim.update()).toMatchObject({ way: "re-arm", leftByKernel: true });
    expect(outcome()).toBe("complete");
    sim.machine.plugDimm(2n * BLOCK);
    expect(await sim.update()).toBeUndefined();
    expect(outcome()).toBe("complete");
  });
});

describe("a re-arm", () => {
  test("is only planned where that is all that was asked for", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    await sim.update();
    sim.machine.plugDimm(BLOCK);
    const made = sim.loads.length;
    await sim.update();
    expect(sim.loads.length).toBe(made + 1);
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    const { before, step } = await sim.keeper.plan();
    expect(before.verdict).toBe("inaccurate");
    expect(step.step).toBe("re-arm");
    expect(sim.loads.length).toBe(made + 1);
  });

  test("waits for another loader", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    let left = 3;
    sim.hooks.before = () => (left-- > 0 ? EBUSY : undefined);
    expect(await sim.update()).toMatchObject({ way: "re-arm" });
    expect(sim.loads).toHaveLength(4);
    expect(outcome()).toBe("complete");
  });

  test("is planned anew where that loader loaded another image", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    let isFirst = true;
    sim.hooks.before = () => {
      if (!isFirst) return undefined;
      isFirst = false;
      // It began before the DIMM came.
      const { dimms, ...seen } = sim.machine.system;
      expect(dimms).toHaveLength(1);
      sim.machine.load({ call: "kexec_load" }, { ...seen, dimms: [] });
      return EBUSY;
    };
    expect(await sim.update()).toMatchObject({ way: "re-arm" });
    expect(sim.loads).toEqual(["kexec_load", "kexec_load"]);
    expect(outcome()).toBe("complete");
  });

  test("that fails when the old image is gone is followed by a load in full at once", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    sim.hooks.before = ({ name }) => {
      if (name !== "kexec_load") return undefined;
      sim.machine.unload();
      return EINVAL;
    };
    const installed = await sim.update();
    expect(installed).toMatchObject({ way: "full-load" });
    expect(installed).toHaveProperty("reason", expect.stringContaining("let go of the image"));
    expect(outcome()).toBe("complete");
  });

  test("after which the image is not whole is followed by a load in full at once", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    const [largest] = sim.machine.image!.segments.toSorted((a, b) =>
      Number(b.end - b.start - (a.end - a.start)),
    );
    sim.hooks.after = ({ name }) => {
      if (name === "kexec_load") sim.machine.memory.poke(largest!.start, new Uint8Array(64).fill(0xa5));
    };
    const installed = await sim.update();
    expect(installed).toMatchObject({ way: "full-load" });
    expect(installed).toHaveProperty("reason", expect.stringContaining("after the re-arm"));
    expect(outcome()).toBe("complete");
  });
});

test("a re-arm that nobody confirmed is confirmed before the next one", async () => {
  await simOf("6.1");
  sim.machine.plugDimm(BLOCK);
  const [largest] = sim.machine.image!.segments.toSorted((a, b) =>
    Number(b.end - b.start - (a.end - a.start)),
  );
  let calls = 0;
  sim.hooks.after = () => {
    if (calls++ === 0) sim.machine.memory.poke(largest!.start, new Uint8Array(64).fill(0xa5));
  };
  await sim.refresh();
  expect((await sim.keeper.update()).installed).toMatchObject({ way: "re-arm" });
  expect(outcome()).not.toBe("complete");
  expect((await sim.keeper.update()).installed).toBeUndefined();
  expect(sim.loads).toEqual(["kexec_load", "kexec_file_load"]);
  expect(outcome()).toBe("complete");
});

describe("a load in full", () => {
  test.each<[string, string, string, string]>([
    [
      "the kernel is locked down",
      "/sys/kernel/security/lockdown",
      "none [integrity] confidentiality\n",
      "locked down",
    ],
    ["what the kernel has mapped is hidden", "/proc/kallsyms", "", "pfn_mapped"],
  ])("takes the place of a re-arm where %s", async (_, path, content, reason) => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    await sim.tree.write(path, content);
    const { installed } = await sim.keeper.update();
    expect(installed).toMatchObject({ way: "full-load" });
    expect(installed).toHaveProperty("reason", expect.stringContaining(reason));
    expect(sim.loads).toEqual(["kexec_file_load"]);
    expect(outcome()).toBe("complete");
  });

  const LOCKED = ["/sys/kernel/security/lockdown", "none [integrity] confidentiality\n"] as const;

  test.each<[string, () => Promise<unknown>, RegExp, number]>([
    [
      "does not accept the kernel file",
      async () => (sim.hooks.tried = () => EPERM),
      /locked down \(integrity\) and does not accept that file \(EPERM\).*the image that is loaded stays/s,
      1,
    ],
    [
      "cannot be asked",
      async () => await sim.tree.write("/sys/kernel/kexec_loaded", "1\n"),
      /nothing is loaded for "kexec -e".*the image that is loaded stays/s,
      0,
    ],
  ])("is not made where a kernel that is locked down %s", async (_, arrange, words, tries) => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    await sim.tree.write(...LOCKED);
    await arrange();
    sim.hooks.before = () => EPERM;
    await expect(sim.keeper.update()).rejects.toThrow(words);
    expect(sim.loads).toEqual([]);
    expect(sim.calls.made.filter(({ name }) => name.startsWith("kexec"))).toHaveLength(tries);
    // It lacks the DIMM, but it is there.
    expect(outcome()).toBe("incomplete");
  });

  test("is made where a kernel that is locked down accepts the file, which is not left loaded for kexec -e", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    await sim.tree.write(...LOCKED);
    expect((await sim.keeper.update()).installed).toMatchObject({ way: "full-load" });
    const flags = sim.calls.made.filter(({ name }) => name === "kexec_file_load").map(({ args }) => args[4]);
    const [onCrash, unload, noInitramfs] = [2, 1, 4];
    expect(flags).toEqual([noInitramfs, unload, onCrash | noInitramfs]);
    expect(outcome()).toBe("complete");
  });

  test("repairs an image whose digest does not hold", async () => {
    await simOf("6.1");
    sim.machine.memory.poke(sim.machine.image!.digest, new Uint8Array(32));
    expect(await sim.update()).toMatchObject({ way: "full-load" });
    expect(outcome()).toBe("complete");
  });

  test("is not made by who may not, who says so once and tries again later", async () => {
    await simOf("6.1");
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    await sim.tree.write("/proc/self/status", "Name:\tnode\nCapEff:\t0000000000000000\n");
    await expect(sim.keeper.update()).rejects.toThrow(FullLoadError);
    sim.now += 999;
    expect(await sim.keeper.update()).toMatchObject({ installed: undefined });
    sim.now += 1;
    await expect(sim.keeper.update()).rejects.toThrow(/no CAP_SYS_BOOT.*nothing was called/s);
    sim.now += 1999;
    expect(await sim.keeper.update()).toMatchObject({ installed: undefined });
    expect(sim.loads).toEqual([]);
  });

  test("that lost the image is made again until there is one", async () => {
    await simOf("6.1");
    sim.machine.memory.poke(sim.machine.image!.digest, new Uint8Array(32));
    let fails = 2;
    sim.hooks.before = () => {
      if (fails-- <= 0) return undefined;
      sim.machine.unload();
      return EINVAL;
    };
    await expect(sim.update()).rejects.toThrow(/kexec_file_load/);
    await sim.tree.write("/sys/kernel/kexec_crash_loaded", "0\n");
    expect(await sim.update()).toBeUndefined();
    sim.now += 1000;
    await expect(sim.update()).rejects.toThrow(/let go of the image/);
    sim.now += 2000;
    expect(await sim.update()).toMatchObject({ way: "full-load" });
    expect(outcome()).toBe("complete");
  });
});

test("what somebody else has unloaded stays unloaded", async () => {
  await simOf("6.1");
  sim.machine.plugDimm(BLOCK);
  sim.machine.unload();
  expect(await sim.update()).toBeUndefined();
  expect(sim.loads).toEqual([]);
});

describe("load", () => {
  test.each(["5.10", "6.1"])("gives a header room to grow (%s)", async (text) => {
    await simOf(text);
    sim.machine.plugDimm(BLOCK);
    await sim.refresh();
    const { loaded, widened, drawback, after } = await sim.keeper.load();
    expect({ drawback, source: loaded.source }).toEqual({ drawback: undefined, source: "what was named" });
    expect(widened).toMatchObject({ way: "re-arm" });
    expect(after.verdict).toBe("accurate");
    expect(after.image!.headerCapacity).toBeGreaterThan(ROOM_FOR_RANGES * 56);
    expect(outcome()).toBe("complete");
    sim.machine.plugDimm(BLOCK);
    expect(await sim.update()).toMatchObject({ way: "re-arm" });
    expect(outcome()).toBe("complete");
  });

  test("leaves a header that the kernel keeps where it is", async () => {
    await simOf("6.12");
    await sim.refresh();
    const { widened, drawback, after } = await sim.keeper.load();
    expect({ widened, drawback, verdict: after.verdict }).toEqual({
      widened: undefined,
      drawback: undefined,
      verdict: "accurate",
    });
  });

  test("says where later changes will cost a load in full each", async () => {
    await simOf("6.1");
    await sim.refresh();
    await sim.tree.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    const { widened, drawback, after } = await sim.keeper.load();
    expect(widened).toBeUndefined();
    expect(drawback).toMatch(/locked down/);
    expect(after.verdict).toBe("accurate");
  });
});
