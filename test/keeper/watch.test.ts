/** Watching: what a change sets going, what waits for a quiet moment, and what is told of. */
import { describe, expect, test, vi } from "vitest";
import { Keeper } from "../../src/keeper/keeper.ts";
import { watch, type WatchEvent, type WatchOptions } from "../../src/keeper/watch.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { unload } from "../image/fake-loaders.ts";
import { armedWith, dump, FakeTarget, slots } from "./fake-target.ts";
import { PATIENCE } from "../patience.ts";

/** A target that is watched until the end of the test's block; looks that nobody asks for are rare unless told. */
class Watching implements AsyncDisposable {
  readonly events: WatchEvent[] = [];
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();

  constructor(
    target: FakeTarget,
    options: Partial<WatchOptions> = {},
    keeper = new Keeper(target, nodeSha256),
  ) {
    this.ended = watch(target, keeper, {
      lookEveryMs: 60_000,
      verifyAfterMs: 5,
      ...options,
      signal: this.#stop.signal,
      onEvent: (event) => this.events.push(event),
    });
    this.ended.catch(() => undefined);
  }

  get kinds(): readonly string[] {
    return this.events.map((event) => (event.kind === "verdict" ? event.audit.verdict : event.kind));
  }

  /** What has happened, once that are `count` events. */
  async first(count: number): Promise<readonly string[]> {
    const enough = (): boolean => this.events.length >= count;
    await vi.waitUntil(enough, { timeout: 15_000, interval: 2 });
    return this.kinds;
  }

  stop(): void {
    this.#stop.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.ended.catch(() => undefined);
  }
}

describe("a machine that is watched", () => {
  test("gets its header as soon as it tells of a change, and a verdict only where that is news", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target);
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.add(slots(0));
    target.tell();
    expect(await watching.first(2)).toEqual(["accurate", "installed"]);
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
    const [, installed] = watching.events;
    expect(installed).toMatchObject({ kind: "installed", installed: { pauseMicroseconds: 1000 } });
    expect(installed?.kind === "installed" && installed.reactionMs).toBeGreaterThan(0);
  });

  test("has its header since the last byte of it, not since that was read back", async () => {
    const target = new FakeTarget("file");
    const keeper = new Keeper(target, nodeSha256);
    const update = keeper.update.bind(keeper);
    let now = 0;
    keeper.update = async () => {
      const updated = await update();
      if (!updated.installed) return updated;
      now += 50;
      return { ...updated, heldMs: 40 };
    };
    await using watching = new Watching(target, { now: () => now }, keeper);
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.add(slots(0));
    target.tell();
    await watching.first(2);
    expect(watching.events[1]).toMatchObject({ kind: "installed", reactionMs: 10 });
  });

  test("is brought up to date once for many changes that come while a look is under way", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target);
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.beforePause.push(() => {
      for (let slot = 1; slot < 20; slot++) {
        target.add(slots(slot));
        target.tell();
      }
    });
    target.add(slots(0));
    target.tell();
    expect(await watching.first(3)).toEqual(["accurate", "installed", "installed"]);
    expect(dump(target)).toEqual(armedWith(target, [slots(0, 20)]));
    expect(target.pauses).toBe(2);
  });

  test("is looked at without any change too: a guest that loads another image tells nobody", async () => {
    const target = new FakeTarget("file");
    target.add(slots(0));
    await using watching = new Watching(target, { lookEveryMs: 5 });
    expect(await watching.first(3)).toEqual(["inaccurate", "installed", "accurate"]);
    target.reload("load", { seed: 99 });
    await vi.waitFor(() => expect(dump(target)).toEqual(armedWith(target, [slots(0)])), PATIENCE);
    const { events } = watching;
    expect(events.filter(({ kind }) => kind === "installed")).toHaveLength(2);
    expect(events.find((event) => event.kind === "installed")).toMatchObject({ reactionMs: undefined });
  });

  test("whose image is unloaded and loaded again is told of both, and since when that may have been", async () => {
    const target = new FakeTarget("file");
    let now = 0;
    await using watching = new Watching(target, { lookEveryMs: 5, now: () => (now += 0.25) });
    expect(await watching.first(1)).toEqual(["accurate"]);
    expect(watching.events[0]).toMatchObject({ kind: "verdict", sinceLookMs: undefined });
    // Looks take a few of its quarters each.
    await vi.waitUntil(() => now > 50, { timeout: 15_000, interval: 2 });
    unload(target.kernel);
    expect(await watching.first(2)).toEqual(["accurate", "not-loaded"]);
    const [, unloaded] = watching.events;
    const sinceLookMs = unloaded?.kind === "verdict" ? unloaded.sinceLookMs : undefined;
    // Not since the first look, which was told of.
    expect(sinceLookMs).toBeGreaterThan(0);
    expect(sinceLookMs).toBeLessThan(40);
    target.reload("file");
    expect(await watching.first(3)).toEqual(["accurate", "not-loaded", "accurate"]);
  });

  test("whose header cannot be corrected is told of once, and tried again", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target, { lookEveryMs: 5 });
    expect(await watching.first(1)).toEqual(["accurate"]);
    let writes = 0;
    target.memory.onWrite = () => {
      if (++writes === 1 || writes === 3) throw new Error("the file is gone");
    };
    target.add(slots(0));
    target.tell();
    expect(await watching.first(3)).toEqual(["accurate", "failed", "installed"]);
    expect(writes).toBeGreaterThan(4);
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("is tried again soon after a failure, however long that took", async () => {
    const target = new FakeTarget("file");
    let now = 0;
    await using watching = new Watching(target, { lookEveryMs: 5, now: () => now });
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.memory.onWrite = () => {
      if (now > 0) return;
      now += 10_000;
      throw new Error("the journal's disk is slow");
    };
    target.add(slots(0));
    target.tell();
    // Twenty times as long as the failure took would be minutes.
    expect(await watching.first(3)).toEqual(["accurate", "failed", "installed"]);
  });

  test("is told to be broken where a segment is overwritten under a keeper that knows the image", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target, { verifyEveryMs: 20 });
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.memory.poke(target.image.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3, 4, 5));
    expect(await watching.first(2)).toEqual(["accurate", "broken"]);
  });

  test("has not to wait for a hash that is under way", async () => {
    const target = new FakeTarget("file");
    const { start } = target.image.segments.get("kernel")!;
    await using watching = new Watching(target, { verifyEveryMs: 1 });
    expect(await watching.first(1)).toEqual(["accurate"]);
    const steps: string[] = [];
    let armed = true;
    target.memory.onRead = ({ address, length }) => {
      // One page is what a look for the header reads.
      if (address !== start || length <= 4096) return;
      steps.push("hash");
      if (!armed) return;
      armed = false;
      target.add(slots(0));
      target.tell();
    };
    target.beforePause.push(() => steps.push("pause"));
    expect(await watching.first(2)).toEqual(["accurate", "installed"]);
    expect(steps.slice(0, 2)).toEqual(["hash", "pause"]);
    expect(dump(target)).toEqual(armedWith(target, [slots(0)]));
  });

  test("that is lost ends it, with what lost it", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target);
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.memory.onRead = () => {
      throw Object.assign(new Error("QEMU has ended"), { machineLost: true });
    };
    target.tell();
    await expect(watching.ended).rejects.toThrow("QEMU has ended");
  });

  test("is let go of at once where the signal comes during a look", async () => {
    const target = new FakeTarget("file");
    await using watching = new Watching(target);
    expect(await watching.first(1)).toEqual(["accurate"]);
    target.memory.onRead = () => watching.stop();
    target.tell();
    await watching.ended;
    expect(target.isWatched).toBe(false);
  });

  test("is let go of when the signal says so", async () => {
    const target = new FakeTarget("file");
    {
      await using watching = new Watching(target);
      expect(await watching.first(1)).toEqual(["accurate"]);
      expect(target.isWatched).toBe(true);
    }
    expect(target.isWatched).toBe(false);
  });
});

describe("a machine that calls in vain without end", () => {
  test("is looked at less and less often, and its image is hashed all the same", async () => {
    const target = new FakeTarget("file");
    let ahead = 0;
    // Half a minute passes at once.
    await using watching = new Watching(target, { now: () => performance.now() + ahead });
    expect(await watching.first(1)).toEqual(["accurate"]);
    const calls = setInterval(() => target.tell(), 1);
    try {
      await new Promise((resolve) => setTimeout(resolve, 300));
      target.memory.poke(target.image.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3, 4, 5));
      ahead = 100_000;
      expect(await watching.first(2)).toEqual(["accurate", "broken"]);
    } finally {
      clearInterval(calls);
    }
  });
});
