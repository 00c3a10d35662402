/** Write plans replayed prefix by prefix, before the eyes of a panic; and what is not planned at all. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import { type DigestFinding, DigestPrefix } from "../../src/image/digest.ts";
import { type CaptureImage, locateImage } from "../../src/image/locate.ts";
import { planInstall, type WritePlan } from "../../src/image/plan.ts";
import { describedMemory } from "../../src/layout/described.ts";
import { machineLayoutFromQmp } from "../../src/layout/machine.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import type { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { slots } from "../keeper/fake-target.ts";
import { dimm } from "../layout/samples.ts";
import { type Form, FORMS, load, type LoadedImage } from "./fake-loaders.ts";
import { BOOT_RAM, CRASH, FakeKernel } from "./fake-machine.ts";
import { panicView } from "./panic-view.ts";

type Covering = Extract<DigestFinding, { readonly value: Uint8Array }>;

async function imageIn(kernel: FakeKernel): Promise<CaptureImage> {
  const location = await locateImage(kernel.memory, nodeSha256);
  if (location.found !== "image") throw new Error("Expected an image");
  return location.image;
}

function digestOf(image: CaptureImage): Covering {
  if (!("value" in image.digest)) throw new Error("Expected a digest");
  return image.digest;
}

async function planFor(kernel: FakeKernel, image: CaptureImage, wanted: CoreHeader): Promise<WritePlan> {
  const prefix =
    image.digest.state === "covers-header"
      ? await DigestPrefix.compute(kernel.memory, nodeSha256, image.digest, image.headerAddress)
      : undefined;
  return planInstall(kernel.memory, image, wanted, prefix);
}

/** The header for DIMMs in `taken` slots. */
function headerFor(image: CaptureImage, taken: readonly number[]): CoreHeader {
  const memoryDevices = taken.map((slot) => dimm(slots(slot)));
  return wantedHeader(
    image.header,
    machineLayoutFromQmp({ bootRam: BOOT_RAM, memoryDevices, hotpluggableCpus: [] }),
  );
}

/** Replays `plan`; a panic after each prefix that can be seen finds the old layout or the new one. */
function replay(
  kernel: FakeKernel,
  loaded: LoadedImage,
  plan: WritePlan,
  before: RangeSet,
  after: RangeSet,
): void {
  const { memory } = kernel;
  const look = (done: number): void => {
    if (plan.atomic && done > 0 && done < plan.writes.length) return;
    const view = panicView(memory, loaded);
    expect(view.outcome, `after ${done} of ${plan.writes.length} writes`).toBe("armed");
    if (view.outcome !== "armed") return;
    const expected = done === plan.writes.length ? [after] : [before, after];
    expect(expected.some((layout) => layout.equals(view.described))).toBe(true);
  };
  look(0);
  for (const [i, write] of plan.writes.entries()) {
    expect(Buffer.compare(memory.peek(write.address, write.before.length), write.before)).toBe(0);
    memory.poke(write.address, write.after);
    look(i + 1);
  }
}

function expectInside(
  kernel: FakeKernel,
  loaded: LoadedImage,
  before: ReadonlyMap<number, Uint8Array>,
): void {
  const allowed: (readonly [bigint, number])[] = [[loaded.headerAddress, loaded.headerCapacity]];
  if (loaded.form !== "file-6.6") allowed.push([loaded.tableAddress, 256], [loaded.digestAddress, 32]);
  const stray = kernel.memory
    .differences(before)
    .filter((address) => !allowed.some(([at, size]) => address >= at && address < at + BigInt(size)));
  expect(stray).toEqual([]);
}

const someSlots = fc.uniqueArray(fc.nat({ max: 24 }), { maxLength: 12 });

describe.each(FORMS)("for an image of form %s", (form: Form) => {
  test("any series of layouts is installed so that a panic at any instant finds the old or the new one", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(someSlots, { minLength: 1, maxLength: 4 }), async (layouts) => {
        const kernel = new FakeKernel();
        const loaded = load(kernel, form);
        for (const taken of layouts) {
          const image = await imageIn(kernel);
          const wanted = headerFor(image, taken);
          const snapshot = kernel.memory.snapshot();
          const plan = await planFor(kernel, image, wanted);
          replay(kernel, loaded, plan, describedMemory(image.header), describedMemory(wanted));
          expectInside(kernel, loaded, snapshot);
          expect((await imageIn(kernel)).header).toEqual({
            ...wanted,
            fileHeader: encodeCoreHeader(wanted).subarray(0, 64),
          });
        }
      }),
      { numRuns: form === "load" ? 20 : 40 },
    );
  });

  test("every byte of a plan that need not be atomic may be written by itself", async () => {
    const kernel = new FakeKernel();
    const loaded = load(kernel, form);
    const image = await imageIn(kernel);
    const plan = await planFor(kernel, image, headerFor(image, [0, 2, 4]));
    expect(plan.atomic).toBe(form !== "file-6.6");
    expect(plan.writes.map(({ what }) => what)).toEqual(
      {
        file: ["header", "region-table", "digest"],
        "file-6.6": ["program-headers", "e_phnum"],
        load: ["header", "region-table", "digest"],
      }[form],
    );
    if (plan.atomic) return;
    const [headers, count] = plan.writes;
    for (const [i, byte] of headers!.after.entries()) {
      kernel.memory.poke(headers!.address + BigInt(i), Uint8Array.of(byte));
      expect(panicView(kernel.memory, loaded)).toEqual({
        outcome: "armed",
        described: describedMemory(image.header),
      });
    }
    // One aligned store: it cannot be seen half done.
    expect(count!.after.length).toBe(2);
    expect(count!.address % 2n).toBe(0n);
  });

  test("the second install leaves the region table alone, for the header is last in it", async () => {
    const kernel = new FakeKernel();
    load(kernel, form);
    let image = await imageIn(kernel);
    for (const { address, after } of (await planFor(kernel, image, headerFor(image, [0]))).writes)
      kernel.memory.poke(address, after);
    image = await imageIn(kernel);
    const plan = await planFor(kernel, image, headerFor(image, [0, 9]));
    expect(plan.writes.map(({ what }) => what)).toEqual(
      form === "file-6.6" ? ["program-headers", "e_phnum"] : ["header", "digest"],
    );
  });

  test("a header that is larger than its segment is refused", async () => {
    const kernel = new FakeKernel();
    const loaded = load(kernel, form);
    const image = await imageIn(kernel);
    const room = Math.floor((loaded.headerCapacity - 64) / 56);
    const one = image.header.programHeaders.at(-1)!;
    const grownTo = (count: number): CoreHeader => ({
      ...image.header,
      programHeaders: [
        ...image.header.programHeaders,
        ...Array.from({ length: count - image.header.programHeaders.length }, () => one),
      ],
    });
    await expect(planFor(kernel, image, grownTo(room + 1))).rejects.toMatchObject({
      kind: "header-too-large",
    });
    await expect(planFor(kernel, image, grownTo(room))).resolves.toMatchObject({});
  });

  test("a header that changed since it was read is refused", async () => {
    const kernel = new FakeKernel();
    const loaded = load(kernel, form);
    const image = await imageIn(kernel);
    kernel.memory.poke(loaded.headerAddress + 70n, Uint8Array.of(1));
    await expect(
      planInstall(kernel.memory, image, headerFor(image, [0]), await anyPrefix(kernel)),
    ).rejects.toMatchObject({ kind: "changed" });
  });

  test("an image whose digest does not match or was not found is refused", async () => {
    const kernel = new FakeKernel();
    load(kernel, form);
    const image = await imageIn(kernel);
    const { table } = digestOf(image);
    for (const digest of [{ state: "mismatch", table }, { state: "not-found" }] satisfies DigestFinding[]) {
      await expect(
        planInstall(kernel.memory, { ...image, digest }, headerFor(image, [0]), undefined),
      ).rejects.toMatchObject({ kind: "forged" });
    }
  });
});

describe("a forged place", () => {
  const HEADER = CRASH.start;
  const purgatory = 0x3eff_9000n;
  const cases: readonly (readonly [string, { table?: bigint; digest?: bigint }])[] = [
    ["of the digest outside crash memory", { digest: 0x200_0000n }],
    ["of the digest half outside crash memory", { digest: CRASH.end - 16n }],
    ["of the digest outside the purgatory's segment", { digest: 0x3eff_7000n }],
    ["of the digest on the edge of the purgatory's segment", { digest: purgatory - 16n }],
    ["of the digest inside the header's segment", { digest: HEADER + 0x800n }],
    ["of the digest inside the table", { digest: purgatory + 0x4010n }],
    ["of the table outside crash memory", { table: 0x200_0000n }],
    ["of the table inside the header's segment", { table: HEADER + 0x100n }],
    ["of the table over the digest", { table: purgatory + 0x4090n }],
    ["of the table behind the end of the address space", { table: (1n << 64n) - 8n }],
  ];

  test.each(cases)("%s is refused", async (_, { table, digest }) => {
    const kernel = new FakeKernel();
    load(kernel, "file");
    const image = await imageIn(kernel);
    const finding = digestOf(image);
    const forged = {
      ...image,
      digest: {
        ...finding,
        table: { ...finding.table, address: table ?? finding.table.address },
        address: digest ?? finding.address,
      },
    };
    await expect(
      planInstall(kernel.memory, forged, headerFor(image, [0]), await anyPrefix(kernel)),
    ).rejects.toMatchObject({ kind: "outside-image" });
  });

  test("of the header outside crash memory is refused", async () => {
    const kernel = new FakeKernel();
    const { header } = load(kernel, "file-6.6");
    const image = await imageIn(kernel);
    const headerAddress = 0x204_0000n;
    kernel.memory.poke(headerAddress, encodeCoreHeader(header));
    await expect(
      planInstall(
        kernel.memory,
        { ...image, headerAddress, headerCapacity: 4096 },
        headerFor(image, [0]),
        undefined,
      ),
    ).rejects.toMatchObject({ kind: "outside-image" });
  });
});

/** Some hash, for plans that are refused before it matters; undefined where none is needed. */
async function anyPrefix(kernel: FakeKernel): Promise<DigestPrefix> {
  const other = new FakeKernel();
  load(other, "file");
  const image = await imageIn(other);
  expect(kernel).not.toBe(other);
  return DigestPrefix.compute(other.memory, nodeSha256, digestOf(image), image.headerAddress);
}
