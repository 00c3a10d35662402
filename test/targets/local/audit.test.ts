/** Audits from inside, of simulated machines as copied trees, beside what is seen of the same machine from outside. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { auditMachine } from "../../../src/keeper/audit.ts";
import { Keeper } from "../../../src/keeper/keeper.ts";
import { auditLocal, type LocalAudit } from "../../../src/targets/local/audit.ts";
import { LocalMachine } from "../../../src/targets/local/machine.ts";
import { type Found, RootTree } from "../../../src/targets/local/tree.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import type { SimulatedTarget } from "../../../src/targets/simulated/machine.ts";
import { crashMemory as crashMemoryOf } from "../../../src/simulation/blueprint.ts";
import { BLOCK, targetOf } from "../../simulation/sim.ts";
import { copyMachine, TempTree } from "./simulated-tree.ts";

let temp: TempTree;
beforeEach(async () => void (temp = await TempTree.make()));
afterEach(() => temp[Symbol.asyncDispose]());

async function auditTree(tree: RootTree = new RootTree(temp.root)): Promise<LocalAudit> {
  await using machine = new LocalMachine({ tree, host: { platform: "linux", arch: "x64" } });
  return await auditLocal(machine, nodeSha256);
}

async function auditCopy({ machine }: SimulatedTarget): Promise<LocalAudit> {
  await copyMachine(machine, temp);
  return await auditTree();
}

const MACHINES = ["5.10", "6.1", "6.12", "6.1,load=kexec_load", "6.12,load=kexec_load"];

describe.each(MACHINES)("%s from inside", (text) => {
  test("is told as from outside: loaded, with new memory, a new CPU, less memory, kept, broken, unloaded", async () => {
    const target = targetOf(text);
    const steps: readonly (readonly [string, () => unknown])[] = [
      ["as loaded", () => undefined],
      ["a DIMM more", () => target.machine.plugDimm(2n * BLOCK)],
      ["a CPU more", () => target.machine.addCpu()],
      ["kept from outside", async () => await new Keeper(target, nodeSha256).reconcile()],
      ["the DIMM less", () => target.machine.unplug("dimm0")],
      ["kept again", async () => await new Keeper(target, nodeSha256).reconcile()],
      ["another load", () => target.machine.load()],
      [
        "a bit of the digest less",
        () => target.machine.memory.poke(target.machine.image!.digest, new Uint8Array(32)),
      ],
      ["unloaded", () => target.machine.unload()],
    ];
    const crashMemory = crashMemoryOf(target.machine.blueprint);
    const verdicts: string[] = [];
    for (const [step, work] of steps) {
      await work();
      const outside = await auditMachine(target, nodeSha256, { crashMemory });
      const inside = await auditCopy(target);
      const told = ({ verdict, missing, stale, image }: typeof outside): unknown => ({
        verdict,
        missing: missing.toString(),
        stale: stale.toString(),
        header: image?.headerAddress,
        digest: image?.digest.state,
        possible: image?.possibleCpus,
      });
      expect.soft(told(inside), `${step}: ${inside.reason}`).toEqual(told(outside));
      verdicts.push(inside.verdict);
    }
    expect(new Set(verdicts)).toEqual(new Set(["accurate", "inaccurate", "broken", "not-loaded"]));
  });

  test("needs no symbols", async () => {
    const target = targetOf(text);
    target.machine.plugDimm(BLOCK);
    await copyMachine(target.machine, temp);
    const bySymbols = await auditTree();
    await temp.remove("proc/kallsyms");
    const searched = await auditTree();
    expect(searched).toMatchObject({
      verdict: bySymbols.verdict,
      image: { loaded: "yes", headerAddress: bySymbols.image!.headerAddress },
    });
    expect(searched.missing.equals(bySymbols.missing)).toBe(true);
    // Where the pointer is was found out; where it is by its symbol is the same place.
    expect(searched.image!.kernel!.imagePointerAddress).toBe(bySymbols.image!.kernel!.imagePointerAddress);
    expect(searched.image!.possibleCpus).toEqual(bySymbols.image!.possibleCpus);
  });
});

test("a CPU that the header lacks is named", async () => {
  const target = targetOf("6.1");
  target.machine.addCpu();
  const audit = await auditCopy(target);
  expect(audit).toMatchObject({
    verdict: "inaccurate",
    cpus: { missing: ["cpu2"], present: 3, described: 2 },
  });
  expect(audit.reason).toBe(
    "A dump would lack the registers of 1 CPUs; kdump-hotplug keep local corrects that",
  );
});

test("the note of a CPU decides, not the number of notes", async () => {
  const target = targetOf("6.1");
  await copyMachine(target.machine, temp);
  await temp.write("sys/devices/system/cpu/cpu1/crash_notes", "9fff600\n");
  expect(await auditTree()).toMatchObject({
    verdict: "inaccurate",
    cpus: { missing: ["cpu1"], present: 2, described: 2 },
  });
});

test("memory that is not online yet is not missing", async () => {
  const target = targetOf("6.1,manual-online");
  target.machine.plugDimm(BLOCK);
  expect(await auditCopy(target)).toMatchObject({ verdict: "accurate" });
  target.machine.online();
  expect(await auditCopy(target)).toMatchObject({ verdict: "inaccurate" });
});

describe("says that it cannot tell, and why,", () => {
  test.each<readonly [string, (tree: TempTree) => Promise<void>, RegExp]>([
    ["without kexec", (tree) => tree.remove("sys/kernel"), /kexec_crash_loaded does not exist/],
    [
      "where addresses are hidden",
      (tree) => tree.write("proc/iomem", "00000000-00000000 : System RAM\n"),
      /iomem: addresses are hidden, read it as root/,
    ],
    ["without iomem", (tree) => tree.remove("proc/iomem"), /proc\/iomem does not exist: copy it/],
    [
      "without kcore",
      (tree) => tree.remove("proc/kcore"),
      /proc\/kcore does not exist, so crash memory cannot/,
    ],
    ["where kcore is none", (tree) => tree.write("proc/kcore", "x".repeat(99)), /not a kernel's memory/],
    [
      "where sysfs is cut off",
      (tree) => tree.remove("sys/devices/system/cpu/present"),
      /cpu\/present is missing/,
    ],
    [
      "where a file makes no sense",
      (tree) => tree.write("sys/kernel/kexec_crash_loaded", "2"),
      /kexec_crash_loaded is "2", expected 0 or 1/,
    ],
    [
      "where kcore is of another boot",
      (tree) => tree.write("sys/kernel/vmcoreinfo", "8200000 1024\n"),
      /does not have its VMCOREINFO note .* not of the same boot/,
    ],
  ])("%s", async (_, spoil, reason) => {
    await copyMachine(targetOf("6.1").machine, temp);
    await spoil(temp);
    const audit = await auditTree();
    expect(audit.verdict).toBe("unknown");
    expect(audit.reason).toMatch(/^It cannot be told what a panic would give: /);
    expect(audit.reason).toMatch(reason);
  });

  test.each([
    [{ platform: "darwin", arch: "arm64" }, /This machine runs darwin/],
    [{ platform: "linux", arch: "arm64" }, /This machine is arm64/],
  ])("on %o", async (host, reason) => {
    await using machine = new LocalMachine({ host });
    const audit = await auditLocal(machine, nodeSha256);
    expect(audit).toMatchObject({ verdict: "unknown", facts: undefined });
    expect(audit.reason).toMatch(reason);
  });
});

describe("says that nothing is loaded", () => {
  test("to those who may see nothing else, too", async () => {
    await copyMachine(targetOf("6.1,noload").machine, temp);
    await temp.remove("proc");
    expect(await auditTree()).toMatchObject({
      verdict: "not-loaded",
      reason:
        "Crash memory (16 MiB) is reserved, but no capture kernel is loaded at this moment; load one with kexec -p",
      warnings: [expect.stringMatching(/^What the machine has could not be read: .*iomem does not exist/)],
    });
  });

  test("where no crash memory is reserved, and in a capture kernel", async () => {
    await copyMachine(targetOf("6.1,noload").machine, temp);
    await temp.write("sys/kernel/kexec_crash_size", "0\n");
    expect((await auditTree()).reason).toMatch(
      /^This kernel \(6\.1.*\) has reserved no crash memory; boot it with/,
    );
    await temp.write("proc/vmcore", "");
    expect(await auditTree()).toMatchObject({
      verdict: "not-loaded",
      reason: expect.stringMatching(/^This is a capture kernel itself/),
    });
  });
});

/** A tree in which something happens when a file is read for the nth time. */
class EventfulTree extends RootTree {
  readonly #events: Map<string, () => Promise<void>>;
  readonly #reads = new Map<string, number>();

  constructor(root: string, events: Readonly<Record<string, () => Promise<void>>>, isLive = false) {
    super(root, isLive);
    this.#events = new Map(Object.entries(events));
  }

  override async read(path: string): Promise<Found> {
    const count = (this.#reads.get(path) ?? 0) + 1;
    this.#reads.set(path, count);
    await this.#events.get(`${path} ${count}`)?.();
    return await super.read(path);
  }

  reads(path: string): number {
    return this.#reads.get(path) ?? 0;
  }
}

describe("while the machine changes", () => {
  const IOMEM = "/proc/iomem";
  const LOADED = "/sys/kernel/kexec_crash_loaded";

  test("a DIMM that comes during a look is looked at again, with the header of then", async () => {
    const target = targetOf("6.12");
    await copyMachine(target.machine, temp);
    // The kernel adds it and corrects the header after we have read the layout.
    const tree = new EventfulTree(temp.root, {
      [`${IOMEM} 2`]: async () => {
        target.machine.plugDimm(BLOCK);
        await copyMachine(target.machine, temp);
      },
    });
    const audit = await auditTree(tree);
    expect(audit).toMatchObject({ verdict: "accurate", layout: { inside: {} } });
    expect(audit.layout.backed.equals(target.machine.backed)).toBe(true);
    expect(tree.reads(IOMEM)).toBeGreaterThan(3);
  });

  const BLOCK_0 = "/sys/devices/system/memory/memory0/state";

  test("a live machine's blocks are read once where nothing changes, a copy's twice", async () => {
    await copyMachine(targetOf("6.1").machine, temp);
    for (const [isLive, reads] of [
      [true, 1],
      [false, 2],
    ] as const) {
      const tree = new EventfulTree(temp.root, {}, isLive);
      expect(await auditTree(tree)).toMatchObject({ verdict: "accurate" });
      expect(tree.reads(BLOCK_0)).toBe(reads);
    }
  });

  test("blocks of a live machine that come online during a look are seen by what it has in all", async () => {
    const target = targetOf("6.1,manual-online");
    const id = target.machine.plugDimm(BLOCK);
    await copyMachine(target.machine, temp);
    const tree = new EventfulTree(
      temp.root,
      {
        // The second time is when the image has been looked at.
        "/proc/meminfo 2": async () => {
          target.machine.online(id);
          await copyMachine(target.machine, temp);
        },
      },
      true,
    );
    const audit = await auditTree(tree);
    expect(tree.reads("/proc/meminfo")).toBeGreaterThan(2);
    expect(audit.verdict).toBe("inaccurate");
    expect(audit.missing.bytes).toBe(BLOCK);
  });

  test("a load that comes during a look is what is judged", async () => {
    const target = targetOf("6.1");
    target.machine.plugDimm(BLOCK);
    await copyMachine(target.machine, temp);
    const tree = new EventfulTree(temp.root, {
      [`${LOADED} 2`]: async () => {
        target.machine.load();
        await copyMachine(target.machine, temp);
      },
    });
    expect(await auditTree(tree)).toMatchObject({ verdict: "accurate" });
  });

  test("an image that is broken once is looked at a second time", async () => {
    const target = targetOf("6.1");
    const { digest } = target.machine.image!;
    const right = target.machine.memory.peek(digest, 32);
    target.machine.memory.poke(digest, new Uint8Array(32));
    await copyMachine(target.machine, temp);
    const tree = new EventfulTree(temp.root, {
      [`${LOADED} 3`]: async () => {
        target.machine.memory.poke(digest, right);
        await copyMachine(target.machine, temp);
      },
    });
    expect(await auditTree(tree)).toMatchObject({ verdict: "accurate" });
  });

  test("an unload and a load during a look are followed", async () => {
    const target = targetOf("6.1");
    await copyMachine(target.machine, temp);
    const tree = new EventfulTree(temp.root, {
      [`${LOADED} 2`]: async () => {
        target.machine.unload();
        await copyMachine(target.machine, temp);
      },
    });
    expect(await auditTree(tree)).toMatchObject({ verdict: "not-loaded" });
    const back = new EventfulTree(temp.root, {
      [`${LOADED} 2`]: async () => {
        target.machine.load();
        await copyMachine(target.machine, temp);
      },
    });
    expect(await auditTree(back)).toMatchObject({ verdict: "accurate" });
  });

  test("a machine that never comes to rest cannot be told of, and no look goes on for ever", async () => {
    const target = targetOf("6.1");
    await copyMachine(target.machine, temp);
    const flip = async (): Promise<void> => await temp.write(LOADED, "1\n");
    let base = 0x9fff000n;
    const events: Record<string, () => Promise<void>> = { [`${LOADED} 1`]: flip };
    for (let read = 1; read < 99; read++)
      events[`/sys/devices/system/cpu/cpu1/crash_notes ${read}`] = async () => {
        base += 0x1000n;
        await temp.write("sys/devices/system/cpu/cpu1/crash_notes", base.toString(16));
      };
    const audit = await auditTree(new EventfulTree(temp.root, events));
    expect(audit.verdict).toBe("unknown");
    expect(audit.reason).toMatch(
      /8 looks in a row did not hold \(memory or CPUs came or went\); the files are not of the same/,
    );
  });

  test("a kernel that says loaded where nothing is found is not believed", async () => {
    const target = targetOf("6.1");
    target.machine.unload();
    await copyMachine(target.machine, temp);
    await temp.write(LOADED, "1\n");
    const audit = await auditTree();
    expect(audit.verdict).toBe("unknown");
    expect(audit.reason).toMatch(/kexec_crash_loaded is 1, and no image was found/);
  });
});
