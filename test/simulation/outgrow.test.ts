/** A header that outgrows its segment on the simulated machine: the same as test/real/outgrow.test.ts does to a guest. */
import { describe, expect, test } from "vitest";
import { u64Bytes } from "../../src/image/bytes.ts";
import { computeDigest } from "../../src/image/purgatory.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { rangeBytes } from "../../src/layout/range.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import type { LoadCall } from "../../src/simulation/load.ts";
import type { SimulatedMachine } from "../../src/simulation/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { SimulatedTarget } from "../../src/targets/simulated/machine.ts";
import { BLOCK, dumpOf, machineOf, places } from "./sim.ts";

/** With a hole behind each; kexec-tools' segment has room for 291 program headers, the kernel's for 72. */
const MANY = { kexec_file_load: 80, kexec_load: 300 } as const;
const CASES: readonly (readonly [string, LoadCall])[] = [
  ["5.10", "kexec_file_load"],
  ["5.10", "kexec_load"],
  ["6.1", "kexec_file_load"],
  ["6.1", "kexec_load"],
  ["6.12", "kexec_load"],
];

/** DIMMs of one block in every second place from `first` on, taken by the kernel. */
function plugWithHoles(machine: SimulatedMachine, first: number, count: number): void {
  for (let i = first; i < first + count; i++) {
    const id = machine.insertDimm(BLOCK, places(2 * i).start);
    machine.addDimm(id);
    machine.online(id);
  }
}

describe.each(CASES)("%s, loaded by %s", (kernel, call) => {
  const text = `${kernel},load=${call},slots=400`;
  const many = MANY[call];

  test("lacks the added memory without us", () => {
    const machine = machineOf(text);
    plugWithHoles(machine, 0, many);
    expect(machine.judge()).toMatchObject({ outcome: "incomplete" });
    expect(machine.judge().missing.bytes).toBe(BigInt(many) * BLOCK);
  });

  test("moves its header, dumps all of it, grows where it is then, and forgets what is gone", async () => {
    const machine = machineOf(text);
    const keeper = new Keeper(new SimulatedTarget("sim:outgrow", machine), nodeSha256);
    const control = machine.memory.peek(machine.image!.controlPages.start, 0x6000);
    plugWithHoles(machine, 0, many);
    const { before, after } = await keeper.reconcile();
    expect(before.verdict).toBe("inaccurate");
    expect(after.verdict).toBe("accurate");
    expect(before.image?.headerAddress).toBe(machine.image!.header.start);
    expect(after.image?.headerAddress).not.toBe(machine.image!.header.start);
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
    machine.memory.poke(places(2).start, Uint8Array.of(1, 2, 3));
    expect(dumpOf(machine.panic()).readPhysical(places(2).start, 3)).toEqual(Uint8Array.of(1, 2, 3));
    expect(machine.memory.peek(machine.image!.controlPages.start, 0x6000)).toEqual(control);

    plugWithHoles(machine, many, 5);
    const next = await keeper.reconcile();
    expect(next.after.image?.headerAddress).toBe(after.image?.headerAddress);
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });
    machine.unplug("dimm1");
    await keeper.reconcile();
    expect(machine.judge()).toMatchObject({ outcome: "complete", stale: RangeSet.empty });

    machine.load({ call });
    expect((await keeper.reconcile()).after.verdict).toBe("accurate");
    expect(machine.judge().outcome).toBe("complete");
  });

  test("would be lost if the capture kernel's map kept the place, and is not believed then", async () => {
    const machine = machineOf(text);
    plugWithHoles(machine, 0, many);
    const keeper = new Keeper(new SimulatedTarget("sim:outgrow", machine), nodeSha256);
    const { image } = (await keeper.reconcile()).after;
    expect(machine.panic().kind).toBe("vmcore");
    const { memory, blueprint } = machine;
    const entry = machine.image!.bootParams.start + 0x2d0n;
    memory.poke(entry, u64Bytes(blueprint.crashkRes!.start));
    memory.poke(entry + 8n, u64Bytes(rangeBytes(blueprint.crashkRes!)));
    if (image?.digest.state !== "covers-header") throw new Error("Expected a digest that covers the header");
    expect(machine.panic().kind).toBe("hang");
    memory.poke(image.digest.address, await computeDigest(memory, nodeSha256, image.digest.table.regions));
    expect(machine.panic()).toMatchObject({ kind: "refused", reason: expect.stringContaining("own memory") });
    expect(await keeper.audit()).toMatchObject({
      verdict: "unknown",
      reason: expect.stringContaining("own RAM"),
    });
  });
});

test("a panic runs through the control pages: one that was overwritten hangs", () => {
  const machine = machineOf("6.1");
  machine.memory.poke(machine.image!.controlPages.end - 1n, Uint8Array.of(0xff, 0xff));
  const result = machine.panic();
  expect(result).toMatchObject({ kind: "hang", reason: expect.stringContaining("overwritten") });
});
