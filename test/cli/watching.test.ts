/** `keep` of one machine, until Ctrl-C. */
import { expect, test } from "vitest";
import { watchUntilInterrupted } from "../../src/cli/watching.ts";
import { ImageError } from "../../src/image/error.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { FakeTarget } from "../keeper/fake-target.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";

/** Watches until a look under way is interrupted, which ends with `error`. */
async function interruptedIn(error: Error): Promise<void> {
  const target = new FakeTarget("file");
  const keeper = new Keeper(target, nodeSha256);
  const stop = new AbortController();
  keeper.update = async () => {
    stop.abort();
    throw error;
  };
  await watchUntilInterrupted(target, keeper, { onEvent: () => undefined, signal: stop.signal });
}

test("a look that Ctrl-C ends is no failure", async () => {
  await expect(interruptedIn(new Error("We closed the connection"))).resolves.toBeUndefined();
});

test("what is half written is told, also on Ctrl-C", async () => {
  const halfWritten = new ImageError("half-written", "A write failed");
  await expect(interruptedIn(halfWritten)).rejects.toBe(halfWritten);
});

test("a failure that nobody interrupted is one", async () => {
  const target = new FakeTarget("file");
  const lost = Object.assign(new Error("QEMU has ended"), { machineLost: true });
  const keeper = new Keeper(target, nodeSha256);
  keeper.update = async () => {
    throw lost;
  };
  const { signal } = new AbortController();
  await expect(watchUntilInterrupted(target, keeper, { onEvent: () => undefined, signal })).rejects.toBe(
    lost,
  );
});
