/** A keeper that is killed at any write of an install, and what the next start makes of it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Journal } from "../../src/keeper/journal/journal.ts";
import type { PendingInstall } from "../../src/keeper/journal/open-installs.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { plugMemory } from "../../src/keeper/plug.ts";
import { type Recovered, recoverTarget } from "../../src/keeper/recover.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { buildMachine, parseSpec } from "../../src/simulation/spec.ts";
import { BLOCK, targetOf } from "../simulation/sim.ts";
import { Killed, MortalView } from "./killed.ts";

let directory = "";
let said: string[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-recover-"));
  said = [];
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function openJournal(): Promise<Journal> {
  return await Journal.open({ directory, sha256: nodeSha256, say: (line) => said.push(line) });
}

/** A keeper process: it lives until it is killed, and its journal has what it told until then. */
async function keepUntilKilled(
  target: SimulatedTarget,
  arrange: (view: MortalView) => void,
  work: (view: MortalView, keeper: Keeper) => Promise<unknown>,
): Promise<MortalView> {
  const journal = await openJournal();
  const view = new MortalView(target);
  arrange(view);
  const log = journal.installLog(target.name);
  // A dead process says nothing any more: how its install ended is in no journal.
  const keeper = new Keeper(
    view,
    nodeSha256,
    {},
    {
      intend: async (intent) => {
        const open = await log.intend(intent);
        return { ...open, undone: () => undefined, leftOpen: () => undefined };
      },
    },
  );
  try {
    await work(view, keeper);
  } catch (error) {
    // What a dead process's code ends with is nobody's business.
    if (!view.isDead) throw error;
  }
  await journal.close();
  return view;
}

/** The next start: recovers, then reconciles. */
async function nextStart(target: SimulatedTarget): Promise<{
  readonly pending: PendingInstall | undefined;
  readonly recovered: Recovered | undefined;
  readonly verdict: string;
}> {
  await using journal = await openJournal();
  const view = new MortalView(target);
  const pending = journal.pendingOf(target.name);
  let recovered: Recovered | undefined;
  if (pending) {
    recovered = await recoverTarget(view, pending, nodeSha256);
    journal.settle(target.name, pending.ref, recovered.result, recovered.reason);
  }
  const { after } = await new Keeper(view, nodeSha256, {}, journal.installLog(target.name)).reconcile();
  return { pending, recovered, verdict: after.verdict };
}

/** A dump of everything, from a machine that runs. */
function expectWhole(target: SimulatedTarget): void {
  expect(target.machine.running).toBe(true);
  expect(target.machine.panic()).toMatchObject({ kind: "vmcore" });
  const verdict = target.machine.judge();
  expect(verdict).toMatchObject({ outcome: "complete" });
}

/** Machines with something to install: growth, a whole header, one that has to move, without a digest over it. */
const MACHINES: readonly (readonly [string, string])[] = [
  ["6.1, a DIMM more", "6.1,dimm=128M"],
  ["6.1 by kexec_load, a DIMM more", "6.1,load=kexec_load,dimm=128M"],
  ["6.12, a removed DIMM that its handler left", "6.12,dimm=128M,unplug=dimm0"],
];

describe.each(MACHINES)("%s", (_name, spec) => {
  const make = (): SimulatedTarget => targetOf(spec);
  test("killed in each write, at its begin, within and at its end, the next start finishes it and the guest runs", async () => {
    let writes = 1;
    const results = new Set<string>();
    for (let write = 0; write < writes; write++) {
      for (const part of [0, 0.5, 1]) {
        const target = make();
        const view = await keepUntilKilled(
          target,
          (each) => {
            each.onWrite = (number, length) => (number === write ? Math.floor(length * part) : undefined);
          },
          async (_view, keeper) => await keeper.reconcile(),
        );
        writes = Math.max(writes, view.writes);
        expect(view.isDead).toBe(true);
        expect(target.machine.running).toBe(false);
        const { pending, recovered, verdict } = await nextStart(target);
        expect(pending?.isPauseOurs).toBe(true);
        expect(recovered).toMatchObject({ resumed: true });
        results.add(recovered!.result);
        expect(["not-begun", "complete", "finished"]).toContain(recovered!.result);
        expect(verdict).toBe("accurate");
        expectWhole(target);
        expect((await nextStart(target)).pending).toBeUndefined();
      }
    }
    expect(results).toContain("not-begun");
  }, 120_000);

  test.each(["at-pause", "at-resume"] as const)("killed %s, the guest runs again", async (dies) => {
    const target = make();
    await keepUntilKilled(
      target,
      (view) => (view.dies = dies),
      async (_view, keeper) => await keeper.reconcile(),
    );
    expect(target.machine.running).toBe(false);
    const { recovered, verdict } = await nextStart(target);
    expect(recovered).toMatchObject({
      resumed: true,
      result: dies === "at-pause" ? "not-begun" : "complete",
    });
    expect(verdict).toBe("accurate");
    expectWhole(target);
  });
});

const reconcile = async (_view: MortalView, keeper: Keeper): Promise<unknown> => await keeper.reconcile();

/** Killed in the middle of its first write. */
const inFirstWrite = (view: MortalView): void => {
  view.onWrite = (number, length) => (number === 0 ? Math.floor(length / 2) : undefined);
};

/** Killed after its first write: the header is the new one, the digest the old one. */
const afterFirstWrite = (view: MortalView): void => {
  view.onWrite = (number) => (number === 1 ? 0 : undefined);
};

test("killed while a header moves, the next start finishes that", async () => {
  // What touches is one program header, so it takes holes: every second DIMM is unplugged.
  const dimms = Array.from({ length: 160 }, () => "dimm=128M");
  const holes = Array.from({ length: 80 }, (_, i) => `unplug=dimm${2 * i + 1}`);
  const spec = ["6.1", "slots=160", ...dimms, ...holes].join(",");
  for (const write of [1, 4]) {
    const target = targetOf(spec);
    const kill = (view: MortalView): void => {
      view.onWrite = (number, length) => (number === write ? Math.ceil(length / 2) : undefined);
    };
    const killed = await keepUntilKilled(target, kill, reconcile);
    expect(killed.isDead).toBe(true);
    expect(target.machine.judge().outcome).toBe("no dump");
    const { pending, recovered, verdict } = await nextStart(target);
    expect(pending?.writes?.map(({ what }) => what)).toContain("command-line");
    expect(recovered).toMatchObject({ result: "finished", resumed: true });
    expect(verdict).toBe("accurate");
    expectWhole(target);
  }
});

test("without the journal's intent such an image is broken, and nobody dares to touch it", async () => {
  const target = targetOf("6.1,dimm=128M");
  await keepUntilKilled(target, afterFirstWrite, reconcile);
  await rm(directory, { recursive: true });
  target.machine.resume();
  const { pending, verdict } = await nextStart(target);
  expect(pending).toBeUndefined();
  expect(verdict).toBe("broken");
  expect(target.machine.judge().outcome).toBe("no dump");
});

test("a guest that was let run with a half-written image is made whole by the next start", async () => {
  const target = targetOf("6.1,dimm=128M");
  await keepUntilKilled(target, afterFirstWrite, reconcile);
  // The watcher process has said cont.
  target.machine.resume();
  expect(target.machine.judge().outcome).toBe("no dump");
  const { recovered, verdict } = await nextStart(target);
  expect(recovered).toMatchObject({ result: "finished", resumed: false });
  expect(verdict).toBe("accurate");
  expectWhole(target);
});

test("a next start that is killed as well is followed by one that finishes", async () => {
  const target = targetOf("6.1,dimm=128M");
  await keepUntilKilled(target, inFirstWrite, reconcile);
  for (let write = 0; write < 3; write++) {
    const journal = await openJournal();
    const view = new MortalView(target);
    view.onWrite = (number, length) => (number === write ? Math.floor(length / 2) : undefined);
    const pending = journal.pendingOf(target.name);
    const work = recoverTarget(view, pending!, nodeSha256);
    await work.catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    await journal.close();
    expect(target.machine.running).toBe(!view.isDead);
    if (!view.isDead) break;
  }
  const { verdict } = await nextStart(target);
  expect(verdict).toBe("accurate");
  expectWhole(target);
});

test("killed while a DIMM is plugged, the guest runs again, with a header that describes it", async () => {
  for (const [kill, result] of [
    [(view: MortalView) => (view.dies = "at-pause"), "not-begun"],
    [afterFirstWrite, "finished"],
    [inFirstWrite, "finished"],
  ] as const) {
    const target = targetOf("6.1");
    await keepUntilKilled(target, kill, async (view, keeper) => await plugMemory(view, keeper, BLOCK));
    const { recovered, verdict } = await nextStart(target);
    expect(recovered).toMatchObject({ result, resumed: true });
    expect(verdict).toBe("accurate");
    expectWhole(target);
  }
});

test("a guest that an operator has paused stays paused, and its header is finished", async () => {
  const target = targetOf("6.1,dimm=128M");
  target.machine.pause();
  await keepUntilKilled(target, afterFirstWrite, reconcile);
  const { recovered } = await nextStart(target);
  expect(recovered).toMatchObject({ result: "finished", resumed: false });
  expect(target.machine.running).toBe(false);
  target.machine.resume();
  expectWhole(target);
});

test("a guest that was resumed, and paused by an operator afterwards, stays paused", async () => {
  const target = targetOf("6.1,dimm=128M");
  await keepUntilKilled(target, (view) => (view.dies = "at-pause"), reconcile);
  const journal = await openJournal();
  // As the watcher process puts down.
  journal.onEvent({ target: target.name, at: Date.now(), event: { kind: "resumed", reason: "by a test" } });
  await journal.close();
  const { pending, recovered } = await nextStart(target);
  expect(pending?.isPauseOurs).toBe(false);
  expect(recovered?.resumed).toBe(false);
  expect(target.machine.running).toBe(false);
});

describe("what is not our own half-made install is left alone", () => {
  test("bytes that are neither the old ones nor the new ones", async () => {
    const target = targetOf("6.1,dimm=128M");
    await keepUntilKilled(target, afterFirstWrite, reconcile);
    const { memory, image } = target.machine;
    memory.poke(image!.header.start + 40n, Uint8Array.of(0xee));
    const before = memory.peek(image!.header.start, 4096);
    const { recovered } = await nextStart(target);
    expect(recovered).toMatchObject({ result: "foreign", resumed: true });
    expect(memory.peek(image!.header.start, 4096)).toEqual(before);
  });

  test("another image, which the guest has loaded since", async () => {
    const target = targetOf("6.1,dimm=128M");
    await keepUntilKilled(target, afterFirstWrite, reconcile);
    target.machine.resume();
    target.machine.load({ call: "kexec_file_load", commandLine: "acpi_no_memhotplug", seed: 99 });
    const { recovered, verdict } = await nextStart(target);
    expect(["replaced", "foreign"]).toContain(recovered!.result);
    expect(verdict).toBe("accurate");
    expectWhole(target);
  });

  test("another guest at the same socket, with less memory", async () => {
    const target = targetOf("6.1,dimm=128M");
    await keepUntilKilled(target, afterFirstWrite, reconcile);
    const { verdict, recovered } = await nextStart(
      new SimulatedTarget(target.name, buildMachine(parseSpec("6.1,ram=216M,crash=16M"), nodeSha256)),
    );
    expect(["replaced", "foreign"]).toContain(recovered!.result);
    expect(verdict).toBe("accurate");
  });

  test("a guest that has panicked since", async () => {
    const target = targetOf("6.1,dimm=128M");
    await keepUntilKilled(target, afterFirstWrite, reconcile);
    await using journal = await openJournal();
    const pending = journal.pendingOf(target.name)!;
    const note = pending.intent.guards.find(({ what }) => what === "cpu-note")!;
    target.machine.memory.poke(BigInt(note.address), Uint8Array.of(5, 0, 0, 0));
    const view = new MortalView(target);
    expect(await recoverTarget(view, pending, nodeSha256)).toMatchObject({ result: "too-late" });
    expect(view.writes).toBe(0);
  });
});
