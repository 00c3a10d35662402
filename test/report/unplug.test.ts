import { expect, test } from "vitest";
import { type RemovalStage, UnfinishedRemovalError } from "../../src/keeper/unplug.ts";
import { unfinishedOutcome, unpluggedJson, unpluggedText } from "../../src/report/unplug.ts";

const dimm = {
  kind: "dimm",
  name: "kdh-mem0",
  range: { start: 4n << 30n, end: 5n << 30n },
  remove: () => Promise.reject(new Error("not here")),
  releaseBackend: () => Promise.reject(new Error("not here")),
} as const;

test.each<[RemovalStage, RegExp, RegExp]>([
  [
    "asked",
    /not gone as far as is known: it was asked for; the header describes it, also once it is gone$/,
    /at any time/,
  ],
  ["refused", /not removed: the guest refused; the header was not looked at again$/, /refused to give it up/],
  ["removed", /removed; the header may still describe it$/, /run keep --once/],
  ["corrected", /removed; the header was corrected, and not looked at again$/, /and the header corrected/],
])("a removal that ended in the stage %s says what is there", (stage, line, message) => {
  const error = new UnfinishedRemovalError(dimm, stage, new Error("QEMU has ended"));
  expect(error.message).toMatch(message);
  expect(error.message).toMatch(/\(QEMU has ended\)$/);
  const outcome = unfinishedOutcome(error);
  expect(unpluggedText(outcome)).toMatch(/^kdh-mem0: 1 GiB /);
  expect(unpluggedText(outcome).trimEnd()).toMatch(line);
  expect(unpluggedJson("qmp:/a", [outcome])).toMatchObject({
    target: "qmp:/a",
    devices: [{ name: "kdh-mem0", staleMicroseconds: null, backend: null }],
    after: null,
  });
});

test("what a removal took is told, and nothing in it moves the cursor", () => {
  const line = unpluggedText({
    name: "kdh-\u001b[2Jmem0",
    range: dimm.range,
    outcome: "removed",
    reason: "",
    staleMicroseconds: 7700,
    pauseMicroseconds: 720,
    backend: { fate: "left", reason: 'its backend "x\u0007" is left behind' },
    after: undefined,
  });
  expect(line).toBe(
    'kdh-\\u001b[2Jmem0: 1 GiB removed, the header described it for 7.7 ms after it was gone, the guest stood still for 0.7 ms, its backend "x\\u0007" is left behind; the header may still describe it\n',
  );
});

test("a CPU is told as one, with what the header has to do with it", () => {
  const cpu = { name: "kdh-cpu0", range: undefined, reason: "", after: undefined } as const;
  expect(unpluggedText({ ...cpu, outcome: "removed" })).toBe(
    "kdh-cpu0: a CPU removed; the header need not know, and was not looked at again\n",
  );
  expect(unpluggedJson("qmp:/a", [{ ...cpu, outcome: "refused", reason: "busy" }])).toMatchObject({
    devices: [{ name: "kdh-cpu0", kind: "cpu", outcome: "refused", reason: "busy" }],
  });
});
