/** Headers that outgrow their segment: where they go, what is written for that, and what refuses them. */
import { describe, expect, test } from "vitest";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import { type CaptureImage, locateImage } from "../../src/image/locate.ts";
import { placeSize, planMove } from "../../src/image/move.ts";
import { planInstall, type WritePlan } from "../../src/image/plan.ts";
import { DigestPrefix } from "../../src/image/digest.ts";
import { describedMemory } from "../../src/layout/described.ts";
import { machineLayoutFromQmp } from "../../src/layout/machine.ts";
import { wantedHeader } from "../../src/layout/wanted.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { slots } from "../keeper/fake-target.ts";
import { dimm } from "../layout/samples.ts";
import { type Form, load, type LoadedImage, type LoadOptions } from "./fake-loaders.ts";
import { BOOT_RAM, CONTROL_PAGES_SPAN, CRASH, FakeKernel, le64, PLACES, text } from "./fake-machine.ts";
import { panicView } from "./panic-view.ts";

/** Forms whose digest covers the header. */
const COVERED: readonly Form[] = ["file", "load"];
/** DIMMs with a hole behind each that neither form has room for. */
const MANY = 300;

async function imageIn(kernel: FakeKernel): Promise<CaptureImage> {
  const location = await locateImage(kernel.memory, nodeSha256);
  if (location.found !== "image") throw new Error(`Expected an image: ${JSON.stringify(location.found)}`);
  return location.image;
}

/** The header with `count` DIMMs, a hole behind each. */
function headerFor(image: CaptureImage, count: number): CoreHeader {
  const memoryDevices = Array.from({ length: count }, (_, i) => dimm(slots(2 * i)));
  return wantedHeader(
    image.header,
    machineLayoutFromQmp({ bootRam: BOOT_RAM, memoryDevices, hotpluggableCpus: [] }),
  );
}

async function loaded(
  form: Form,
  options: LoadOptions = {},
): Promise<{ kernel: FakeKernel; loadedImage: LoadedImage; image: CaptureImage }> {
  const kernel = new FakeKernel();
  const loadedImage = load(kernel, form, options);
  return { kernel, loadedImage, image: await imageIn(kernel) };
}

const moveTo = (kernel: FakeKernel, image: CaptureImage, count = MANY): Promise<WritePlan> =>
  planMove(kernel.memory, nodeSha256, image, headerFor(image, count));

function apply(kernel: FakeKernel, plan: WritePlan): void {
  for (const { address, after } of plan.writes) kernel.memory.poke(address, after);
}

const parameter = (kernel: FakeKernel, image: LoadedImage, line: string): void =>
  kernel.memory.poke(image.commandLineAddress, text(line));
const bootParams = (image: LoadedImage): bigint => image.segments.get("boot-params")!.start;
const rename = (kernel: FakeKernel, image: LoadedImage, address: bigint): void =>
  parameter(kernel, image, `elfcorehdr=0x${address.toString(16)}\0`);

describe.each(COVERED)("a header of form %s that outgrows its segment", (form) => {
  test("moves so that a panic before and after finds the old layout and the new one", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    const wanted = headerFor(image, MANY);
    const before = kernel.memory.snapshot();
    const plan = await moveTo(kernel, image);
    expect(kernel.memory.differences(before)).toEqual([]);
    expect(plan.atomic).toBe(true);
    expect(panicView(kernel.memory, loadedImage)).toEqual({
      outcome: "armed",
      described: describedMemory(image.header),
    });
    for (const { address, before: was } of plan.writes)
      expect(Buffer.compare(kernel.memory.peek(address, was.length), was)).toBe(0);
    // Nobody looks at the new place before all else is there.
    kernel.memory.poke(plan.writes[0]!.address, plan.writes[0]!.after);
    expect(panicView(kernel.memory, loadedImage)).toEqual({
      outcome: "armed",
      described: describedMemory(image.header),
    });
    apply(kernel, plan);
    expect(panicView(kernel.memory, loadedImage)).toEqual({
      outcome: "armed",
      described: describedMemory(wanted),
    });
  });

  test("undone write by write, is armed with the old layout again", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    const before = kernel.memory.snapshot();
    const plan = await moveTo(kernel, image);
    for (let done = 1; done <= plan.writes.length; done++) {
      for (const { address, after } of plan.writes.slice(0, done)) kernel.memory.poke(address, after);
      for (const { address, before: was } of plan.writes.slice(0, done).toReversed())
        kernel.memory.poke(address, was);
      expect(kernel.memory.differences(before)).toEqual([]);
      expect(panicView(kernel.memory, loadedImage).outcome).toBe("armed");
    }
  });

  test("is written to free crash memory, and nothing else changes but what names it", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    const before = kernel.memory.snapshot();
    const plan = await moveTo(kernel, image);
    apply(kernel, plan);
    const start = plan.writes[0]!.address;
    const size = placeSize(headerFor(image, MANY).programHeaders.length);
    const place = { start, end: start + BigInt(size) };
    expect(place.start % 4096n).toBe(0n);
    expect(place.start).toBeGreaterThanOrEqual(CRASH.start + CONTROL_PAGES_SPAN);
    expect(place.end).toBeLessThanOrEqual(CRASH.end);
    for (const segment of loadedImage.segments.values())
      expect(place.end <= segment.start || segment.end <= place.start).toBe(true);
    const boot = loadedImage.segments.get("boot-params")!.start;
    const allowed: (readonly [bigint, bigint])[] = [
      [place.start, place.end],
      [boot + 0x1e8n, boot + 0x1e9n],
      [boot + 0x2d0n, boot + 0x2d0n + 128n * 20n],
      [loadedImage.commandLineAddress, loadedImage.commandLineAddress + 2048n],
      [loadedImage.tableAddress, loadedImage.tableAddress + 256n],
      [loadedImage.digestAddress, loadedImage.digestAddress + 32n],
    ];
    const stray = kernel.memory
      .differences(before)
      .filter((at) => !allowed.some(([from, to]) => from <= at && at < to));
    expect(stray).toEqual([]);
    expect(plan.writes.map(({ what }) => what)).toEqual([
      "header",
      "memory-map",
      "memory-map",
      "command-line",
      "region-table",
      "digest",
    ]);
  });

  test("is found and proven where it is now, although the kernel's pointer leads to the old segment", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    const plan = await moveTo(kernel, image);
    apply(kernel, plan);
    const moved = await imageIn(kernel);
    expect(moved.headerAddress).toBe(plan.writes[0]!.address);
    expect(moved.headerAddress).not.toBe(loadedImage.headerAddress);
    expect(moved.headerCapacity).toBe(placeSize(headerFor(image, MANY).programHeaders.length));
    expect(moved.header.programHeaders).toEqual(headerFor(image, MANY).programHeaders);
    expect(moved.digest.state).toBe("covers-header");
    expect(moved.loaded).toBe("yes");
    expect(moved.commandLine).toMatchObject({ address: loadedImage.commandLineAddress });
    expect(moved.commandLine?.text.length).toBe(image.commandLine?.text.length);
    expect(moved.kimage).toEqual(image.kimage);
    // An address that is given is the moved one, and no other.
    const given = await locateImage(kernel.memory, nodeSha256, { headerAddress: moved.headerAddress });
    expect(given).toMatchObject({ found: "image" });
    const old = await locateImage(kernel.memory, nodeSha256, { headerAddress: image.headerAddress });
    expect(old).toMatchObject({ found: "unknown" });
  });

  test("grows where it is afterwards, and moves again when it outgrows that", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    apply(kernel, await moveTo(kernel, image));
    const moved = await imageIn(kernel);
    const wanted = headerFor(moved, MANY + 20);
    if (!("value" in moved.digest)) throw new Error("Expected a digest");
    const prefix = await DigestPrefix.compute(kernel.memory, nodeSha256, moved.digest, moved.headerAddress);
    const grown = await planInstall(kernel.memory, moved, wanted, prefix);
    expect(grown.writes.map(({ what }) => what)).toEqual(["header", "digest"]);
    apply(kernel, grown);
    expect(panicView(kernel.memory, loadedImage)).toEqual({
      outcome: "armed",
      described: describedMemory(wanted),
    });
    const again = await imageIn(kernel);
    const larger = headerFor(again, 3 * MANY);
    const second = await planMove(kernel.memory, nodeSha256, again, larger);
    const place = second.writes[0]!;
    expect(
      place.address + BigInt(placeSize(larger.programHeaders.length)) <= again.headerAddress ||
        again.headerAddress + BigInt(again.headerCapacity) <= place.address,
    ).toBe(true);
    apply(kernel, second);
    expect(panicView(kernel.memory, loadedImage)).toEqual({
      outcome: "armed",
      described: describedMemory(larger),
    });
    expect((await imageIn(kernel)).headerAddress).toBe(place.address);
  });

  test("overwrites what was left in its place by an image before, and writes no zeros over zeros", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    const wanted = headerFor(image, MANY);
    const needed = 64 + 56 * wanted.programHeaders.length;
    const clean = await moveTo(kernel, image);
    expect(clean.writes[0]!.after).toHaveLength(needed);
    const start = clean.writes[0]!.address;
    kernel.memory.poke(start + BigInt(needed) + 100n, Uint8Array.of(1, 2, 3));
    const plan = await moveTo(kernel, image);
    expect(plan.writes[0]!.after).toHaveLength(needed + 103);
    apply(kernel, plan);
    const size = placeSize(wanted.programHeaders.length);
    expect(kernel.memory.peek(start, size).subarray(needed)).toEqual(new Uint8Array(size - needed));
    expect(panicView(kernel.memory, loadedImage).outcome).toBe("armed");
    expect((await imageIn(kernel)).header.programHeaders).toEqual(wanted.programHeaders);
  });

  test("is not looked for where the guest has loaded another image since", async () => {
    const { kernel, image } = await loaded(form);
    apply(kernel, await moveTo(kernel, image));
    const { headerAddress } = load(kernel, form, { seed: 99 });
    expect(await imageIn(kernel)).toMatchObject({ headerAddress, digest: { state: "covers-header" } });
  });

  type Spoil = (kernel: FakeKernel, image: LoadedImage) => void;
  const spoiled: readonly (readonly [string, Spoil, RegExp])[] = [
    [
      "whose boot parameters have no magic",
      (k, i) => k.memory.poke(bootParams(i) + 0x202n, text("Hdrs")),
      /boot parameters/,
    ],
    [
      "whose map claims 129 entries",
      (k, i) => k.memory.poke(bootParams(i) + 0x1e8n, Uint8Array.of(129)),
      /boot parameters/,
    ],
    [
      "whose map claims 255 entries",
      (k, i) => k.memory.poke(bootParams(i) + 0x1e8n, Uint8Array.of(255)),
      /boot parameters/,
    ],
    ["whose map is empty", (k, i) => k.memory.poke(bootParams(i) + 0x1e8n, Uint8Array.of(0)), /are free/],
    [
      "whose map is full",
      (k, i) => {
        for (let n = 3n; n < 128n; n++)
          k.memory.poke(
            bootParams(i) + 0x2d0n + n * 20n,
            Buffer.concat([le64(0x9000_0000n + n * 0x1000n), le64(0x1000n), Uint8Array.of(2, 0, 0, 0)]),
          );
        k.memory.poke(bootParams(i) + 0x1e8n, Uint8Array.of(128));
      },
      /full/,
    ],
    [
      "whose map has crash memory twice",
      (k, i) =>
        k.memory.poke(
          bootParams(i) + 0x2d0n,
          Buffer.concat([le64(CRASH.start), le64(CRASH.end - CRASH.start)]),
        ),
      /contradicts itself/,
    ],
    [
      "whose map reaches beyond the address space",
      (k, i) => {
        for (let n = 0n; n < 4n; n++)
          k.memory.poke(
            bootParams(i) + 0x2d0n + n * 20n,
            Buffer.concat([le64(CRASH.start), le64(-1n), Uint8Array.of(1, 0, 0, 0)]),
          );
      },
      /are free/,
    ],
    ["whose command line has no end", (k, i) => parameter(k, i, "x".repeat(4096)), /boot parameters/],
    [
      "whose command line lies elsewhere",
      (k, i) => k.memory.poke(bootParams(i) + 0x228n, le64(PLACES.user).subarray(0, 4)),
      /boot parameters/,
    ],
    [
      "whose setup_data leads out of it",
      (k, i) => k.memory.poke(bootParams(i) + 0x250n, le64(PLACES.user)),
      /outside of its image/,
    ],
    [
      "whose setup_data leads in circles",
      (k, i) => {
        k.memory.poke(bootParams(i) + 0x250n, le64(bootParams(i) + 0xf00n));
        k.memory.poke(bootParams(i) + 0xf00n, le64(bootParams(i) + 0xf00n));
      },
      /without end/,
    ],
    [
      "whose map goes on in setup_data",
      (k, i) => {
        k.memory.poke(bootParams(i) + 0x250n, le64(bootParams(i) + 0xf00n));
        k.memory.poke(bootParams(i) + 0xf08n, Uint8Array.of(1, 0, 0, 0));
      },
      /SETUP_E820_EXT/,
    ],
    [
      "whose control pages are not told",
      (k) => k.memory.poke(PLACES.kimage + 592n, le64(0n)),
      /control pages/,
    ],
    [
      "whose control pages end outside of crash memory",
      (k) => k.memory.poke(PLACES.kimage + 624n, le64(CRASH.end + 1n)),
      /control pages/,
    ],
    [
      "that has no control pages",
      (k) => k.memory.poke(PLACES.kimage + 624n, le64(CRASH.start)),
      /control pages/,
    ],
    [
      "whose control pages take all that is free",
      (k) => k.memory.poke(PLACES.kimage + 624n, le64(CRASH.end - 1n)),
      /are free/,
    ],
  ];

  test.each(spoiled)("is refused in an image %s, and stays what it was", async (_, spoil, reason) => {
    const { kernel, loadedImage, image } = await loaded(form);
    spoil(kernel, loadedImage);
    const before = kernel.memory.snapshot();
    await expect(moveTo(kernel, image)).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringMatching(reason),
    });
    expect(kernel.memory.differences(before)).toEqual([]);
  });

  test("is refused where memmap= decides what the capture kernel takes as RAM", async () => {
    const { kernel, image } = await loaded(form, { parameters: "memmap=exactmap memmap=640K@4K" });
    await expect(moveTo(kernel, image)).rejects.toMatchObject({
      kind: "header-too-large",
      message: expect.stringContaining("memmap="),
    });
  });

  test("is refused once the image is not what was looked at", async () => {
    const { kernel, loadedImage, image } = await loaded(form);
    kernel.memory.poke(loadedImage.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3));
    await expect(moveTo(kernel, image)).rejects.toMatchObject({ kind: "changed" });
  });
});

test("a place has room for twice the header, and for the largest that there can be", () => {
  for (const count of [1, 73, 145, 146, 8000, 37_448, 37_449, 65_534]) {
    const needed = 64 + 56 * count;
    expect(placeSize(count) % 16_384).toBe(0);
    expect(placeSize(count)).toBeGreaterThanOrEqual(Math.min(2 * needed, 4 * 1024 * 1024));
    expect(placeSize(count)).toBeGreaterThan(needed);
    expect(placeSize(count)).toBeLessThanOrEqual(4 * 1024 * 1024);
  }
});

test("a header that the digest leaves out is not moved: the kernel rewrites it where it was", async () => {
  const { kernel, image } = await loaded("file-6.6");
  await expect(moveTo(kernel, image)).rejects.toMatchObject({
    kind: "header-too-large",
    message: expect.stringContaining("the kernel may rewrite it"),
  });
});

describe("a moved header that cannot be believed", () => {
  test("because there is none, leaves it unknown what a panic gives", async () => {
    const { kernel, loadedImage } = await loaded("file");
    rename(kernel, loadedImage, CRASH.start + 0x10_0000n);
    expect(await locateImage(kernel.memory, nodeSha256)).toMatchObject({
      found: "unknown",
      reason: expect.stringContaining("its command line names"),
    });
  });

  test("because the capture kernel takes its place as RAM, leaves it unknown", async () => {
    const { kernel, loadedImage } = await loaded("file");
    const place = CRASH.start + 0x10_0000n;
    kernel.memory.poke(place, kernel.memory.peek(loadedImage.headerAddress, 4096));
    rename(kernel, loadedImage, place);
    expect(await locateImage(kernel.memory, nodeSha256)).toMatchObject({
      found: "unknown",
      reason: expect.stringContaining("own RAM"),
    });
  });
});
