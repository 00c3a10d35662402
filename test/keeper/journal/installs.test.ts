/** What a keeper tells its journal: the intent before the pause, one entry per install, and how others ended. */
import { describe, expect, test } from "vitest";
import { isLoss } from "../../../src/keeper/machine.ts";
import { Keeper } from "../../../src/keeper/keeper.ts";
import { plugCpu } from "../../../src/keeper/plug-cpu.ts";
import { plugMemory } from "../../../src/keeper/plug.ts";
import type { InstallLog } from "../../../src/keeper/install-log.ts";
import { watch } from "../../../src/keeper/watch.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { FORMS } from "../../image/fake-loaders.ts";
import { FakeTarget, MIB, slots } from "../fake-target.ts";
import { event, Place, TARGET, until } from "./samples.ts";

describe.each(FORMS)("an image of form %s", (form) => {
  test("the intent is on disk before the machine is paused, and the install after it", async () => {
    await using place = await Place.make();
    const journal = await place.open();
    const target = new FakeTarget(form);
    target.add(slots(0));
    let atPause: readonly string[] = [];
    const entries = new Map<string, readonly string[]>();
    const log = journal.installLog(TARGET);
    const spied: InstallLog = {
      intend: async (intent) => {
        const open = await log.intend(intent);
        entries.set(
          "after intend",
          (await place.entries()).map(({ entry }) => entry),
        );
        return open;
      },
    };
    target.beforePause.push(() => (atPause = entries.get("after intend") ?? []));
    const { after } = await new Keeper(target, nodeSha256, {}, spied).reconcile();
    await until("it is written", () => journal.lag.waiting === 0);
    await journal.close();
    expect(atPause).toEqual(["started", "intent"]);
    const [, intent, installed, stopped] = await place.entries();
    expect(stopped?.entry).toBe("stopped");
    const header = after.image!.header.programHeaders.length;
    const range = { start: "0x140000000", end: "0x148000000" };
    expect(intent).toMatchObject({
      entry: "intent",
      target: TARGET,
      cause: { why: "reconcile", missing: [range], stale: [] },
      after: { programHeaders: header },
    });
    expect(installed).toMatchObject({
      entry: "installed",
      intent: { seq: intent!.seq, writer: intent!.writer },
      cause: { missing: [range] },
      after: { programHeaders: header, described: expect.arrayContaining([range]) },
      pauseMicroseconds: 1000,
      reactionMs: null,
      left: { missing: [], stale: [], cpus: 0 },
    });
    // What the entry says of the header is what lies in memory.
    const sha256 = Buffer.from(
      nodeSha256()
        .update(target.memory.peek(after.image!.headerAddress, 64 + 56 * header))
        .digest(),
    ).toString("hex");
    expect(installed).toMatchObject({ after: { sha256 } });
  });
});

test("a watch gives one entry for an install, with its reaction time", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  const stop = new AbortController();
  const keeper = new Keeper(target, nodeSha256, {}, journal.installLog(TARGET));
  const watching = watch(target, keeper, {
    signal: stop.signal,
    onEvent: (each) => journal.onEvent(event(each)),
    verifyAfterMs: 10,
  });
  const count = async (entry: string): Promise<number> =>
    (await place.entries()).filter((each) => each.entry === entry).length;
  await until("it is looked at", async () => (await count("verdict")) === 1);
  target.add(slots(0));
  target.tell();
  await until("it is installed", async () => (await count("installed")) === 1);
  stop.abort();
  await watching;
  await journal.close();
  const installed = (await place.entries()).filter(({ entry }) => entry === "installed");
  expect(installed).toMatchObject([{ reactionMs: expect.any(Number), intent: { seq: 2 } }]);
  const [first] = installed;
  expect(first && "reactionMs" in first ? first.reactionMs : 0).toBeGreaterThan(0);
});

test("without an install log a listener's entry has the headers all the same", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  target.add(slots(0));
  const { before, installed } = await new Keeper(target, nodeSha256).reconcile();
  journal.onEvent(event({ kind: "installed", before, installed: installed!, reactionMs: 12 }));
  await journal.close();
  const entry = (await place.entries())[1];
  expect(entry).toMatchObject({
    entry: "installed",
    intent: null,
    reactionMs: 12,
    after: { described: expect.arrayContaining([{ start: "0x140000000", end: "0x148000000" }]) },
  });
});

test("a plug tells its writes in the pause, before the first of them", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  const keeper = new Keeper(target, nodeSha256, {}, journal.installLog(TARGET));
  let atWrite: readonly string[] | undefined;
  const seen: Promise<void>[] = [];
  target.memory.onWrite = () => {
    expect(target.running).toBe(false);
    if (atWrite) return;
    atWrite = [];
    // A file is read at once: nothing may have to come first.
    seen.push(place.entries().then((entries) => void (atWrite = entries.map(({ entry }) => entry))));
  };
  await plugMemory(target, keeper, 128n * MIB);
  await Promise.all(seen);
  expect(atWrite?.slice(0, 3)).toEqual(["started", "intent", "planned"]);
  await plugCpu(target, keeper).catch(() => undefined);
  await journal.close();
  const entries = await place.entries();
  expect(entries.map(({ entry }) => entry).slice(0, 4)).toEqual([
    "started",
    "intent",
    "planned",
    "installed",
  ]);
  expect(entries[1]).toMatchObject({ cause: { why: "plug" }, writes: null });
  expect(entries[3]).toMatchObject({ cause: { why: "plug" }, pauseMicroseconds: 1000 });
  expect(journal.pendingOf(TARGET)).toBeUndefined();
});

test("a write that fails and is undone closes the intent; one that is not known to leaves it open", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  target.add(slots(0));
  const keeper = new Keeper(target, nodeSha256, {}, journal.installLog(TARGET));
  let writes = 0;
  target.memory.onWrite = () => {
    if (writes++ === 1) throw new Error("a bad cable");
  };
  await expect(keeper.reconcile()).rejects.toThrow("a bad cable");
  expect(journal.pendingOf(TARGET)).toBeUndefined();
  target.memory.onWrite = () => {
    throw Object.assign(new Error("QEMU has ended"), { machineLost: true });
  };
  const lost = await keeper.reconcile().catch((error: unknown) => error);
  expect(isLoss(lost) || lost instanceof Error).toBe(true);
  expect(journal.pendingOf(TARGET)).toMatchObject({ intent: { target: TARGET } });
  await journal.close();
  const outcomes = (await place.entries()).filter(({ entry }) => entry === "outcome");
  expect(outcomes).toMatchObject([{ result: "undone", reason: "a bad cable" }, { result: "left-open" }]);
  // And the next process knows of it, from the file alone.
  const next = await place.open();
  expect(next.pendingOf(TARGET)?.writes?.length).toBeGreaterThan(1);
  await next.close();
});

test("a disk that hangs or is full keeps no header from being installed", async () => {
  await using place = await Place.make();
  const journal = await place.open({ directory: "/sys/kernel/kdump-hotplug-journal", syncLimitMs: 50 });
  const target = new FakeTarget("file");
  target.add(slots(0));
  const before = performance.now();
  const { after } = await new Keeper(target, nodeSha256, {}, journal.installLog(TARGET)).reconcile();
  expect(after.verdict).toBe("accurate");
  expect(performance.now() - before).toBeLessThan(5000);
  expect(journal.lag).toMatchObject({ late: 1 });
  await journal.close();
});

test("after a failure the verdict is told again, though it is the one before: what is known then is known", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  const stop = new AbortController();
  const keeper = new Keeper(target, nodeSha256, {}, journal.installLog(TARGET));
  const watching = watch(target, keeper, {
    signal: stop.signal,
    onEvent: (each) => journal.onEvent(event(each)),
    verifyAfterMs: 10,
    lookEveryMs: 20,
  });
  const kinds = async (): Promise<readonly string[]> => (await place.entries()).map(({ entry }) => entry);
  await until("it is looked at", async () => (await kinds()).includes("verdict"));
  let writes = 0;
  target.memory.onWrite = () => {
    if (writes++ === 0) throw new Error("a bad cable");
  };
  target.add(slots(0));
  target.tell();
  await until("it is told again", async () => writes > 1 && (await kinds()).at(-1) === "verdict");
  stop.abort();
  await watching;
  await journal.close();
  expect(await kinds()).toEqual([
    "started",
    "verdict",
    "intent",
    "outcome",
    "failed",
    "intent",
    "installed",
    "verdict",
    "stopped",
  ]);
});
