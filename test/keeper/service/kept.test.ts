/** A machine that two want: the looks of its keeper, and a command that is let in. */
import { describe, expect, test, vi } from "vitest";
import { Keeper } from "../../../src/keeper/keeper.ts";
import type { RemovalAnswer } from "../../../src/keeper/machine.ts";
import { plugMemory } from "../../../src/keeper/plug.ts";
import { inTurns, Kept, Lease } from "../../../src/keeper/service/kept.ts";
import { Turns, unlessAborted } from "../../../src/keeper/service/turns.ts";
import { unplugMemory } from "../../../src/keeper/unplug.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { armedWith, dump, MIB, slots } from "../fake-target.ts";
import { ServedFake } from "./served-fake.ts";
import { PATIENCE } from "../../patience.ts";

describe("turns", () => {
  test("come in the order of asking, and one that is not waited for any more is left out", async () => {
    const turns = new Turns();
    const order: string[] = [];
    const first = await turns.take();
    const gaveUp = new AbortController();
    const second = turns.take(gaveUp.signal);
    const third = turns.run(async () => void order.push("third"));
    gaveUp.abort(new Error("gave up"));
    await expect(second).rejects.toThrow("gave up");
    expect(order).toEqual([]);
    first[Symbol.dispose]();
    await third;
    expect(order).toEqual(["third"]);
  });

  test("go on after work that fails", async () => {
    const turns = new Turns();
    await expect(turns.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await turns.run(async () => 7)).toBe(7);
  });

  test("work that ends before the signal is what counts", async () => {
    const signal = new AbortController().signal;
    expect(await unlessAborted(Promise.resolve(1), signal)).toBe(1);
    await expect(unlessAborted(Promise.reject(new Error("bad")), signal)).rejects.toThrow("bad");
    await expect(
      unlessAborted(new Promise(() => undefined), AbortSignal.abort(new Error("off"))),
    ).rejects.toThrow("off");
  });
});

const never = (): AbortSignal => new AbortController().signal;

describe("a command on a kept machine", () => {
  test("has it to itself: no look begins before it ends", async () => {
    const machine = new ServedFake();
    const kept = new Kept(machine);
    const looks = inTurns(kept, new Keeper(kept, nodeSha256));
    await looks.audit();
    const lease = await Lease.take(kept, never());
    const keeper = new Keeper(lease, nodeSha256);
    const plugged = await plugMemory(lease, keeper, 128n * MIB);
    expect(plugged.after.verdict).toBe("accurate");
    let looked = false;
    const look = looks.update().then(() => (looked = true));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(looked).toBe(false);
    await lease[Symbol.asyncDispose]();
    await look;
    expect(dump(machine)).toEqual(armedWith(machine, [slots(0)]));
  });

  test("lets the keeper look while the guest thinks about giving up a DIMM", async () => {
    const machine = new ServedFake();
    machine.add(slots(0, 2));
    const kept = new Kept(machine);
    const looks = inTurns(kept, new Keeper(kept, nodeSha256));
    await looks.update();
    let answer: ((answer: RemovalAnswer) => void) | undefined;
    machine.onRemoval = () => new Promise((resolve) => (answer = resolve));
    await using lease = await Lease.take(kept, never());
    const [dimm] = await lease.removableDimms();
    const removal = unplugMemory(lease, new Keeper(lease, nodeSha256), dimm!, 60_000);
    await vi.waitUntil(() => answer !== undefined, PATIENCE);
    // Somebody else plugs meanwhile: the keeper sees to it.
    machine.add(slots(4));
    await looks.update();
    expect(dump(machine)).toEqual(armedWith(machine, [slots(0, 2), slots(4)]));
    machine.remove(slots(0, 2));
    answer!({ answer: "removed" });
    expect(await removal).toMatchObject({ answer: { answer: "removed" }, after: { verdict: "accurate" } });
    expect(dump(machine)).toEqual(armedWith(machine, [slots(4)]));
  });

  test("that is interrupted neither waits for the guest nor begins a pause, and the keeper goes on", async () => {
    const machine = new ServedFake();
    machine.add(slots(0));
    const kept = new Kept(machine);
    const looks = inTurns(kept, new Keeper(kept, nodeSha256));
    await looks.update();
    machine.onRemoval = () => new Promise(() => undefined);
    const stop = new AbortController();
    const lease = await Lease.take(kept, stop.signal);
    const [dimm] = await lease.removableDimms();
    let asked = false;
    const removal = dimm!.remove(60_000, () => (asked = true));
    await vi.waitUntil(() => asked, PATIENCE);
    stop.abort(new Error("Ctrl-C"));
    await expect(removal).rejects.toThrow("Ctrl-C");
    await expect(lease.paused(async () => undefined)).rejects.toThrow("Ctrl-C");
    await expect(lease.allocateDimm(128n * MIB)).rejects.toThrow("Ctrl-C");
    await lease.interrupt();
    // The service's own connection is none of the command's.
    expect(machine.interrupted).toBe(false);
    await lease[Symbol.asyncDispose]();
    machine.add(slots(2));
    await looks.update();
    expect(dump(machine)).toEqual(armedWith(machine, [slots(0), slots(2)]));
  });

  test("that is interrupted in a pause brings it to its end", async () => {
    const machine = new ServedFake();
    machine.pauseMs = 50;
    const kept = new Kept(machine);
    await using lease = await Lease.take(kept, never());
    const steps: string[] = [];
    const pause = lease.paused(async () => void steps.push("work"));
    const interrupted = lease.interrupt().then(() => steps.push("interrupted"));
    await Promise.all([pause, interrupted]);
    expect(steps).toEqual(["work", "interrupted"]);
    await expect(lease.paused(async () => undefined)).rejects.toThrow("Interrupted");
  });
});
