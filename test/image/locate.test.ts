/** Finding the image: each loader's form, what is not an image, and what cannot be told. */
import { describe, expect, test } from "vitest";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { isKernelText } from "../../src/elfcore/kinds.ts";
import { KernelBytes } from "../../src/image/kernel-bytes.ts";
import { findLoadedImage } from "../../src/image/kernel.ts";
import { type CaptureImage, locateImage, type Location } from "../../src/image/locate.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, load, unload } from "./fake-loaders.ts";
import {
  BOOT_RAM,
  CRASH,
  FakeKernel,
  KERNEL,
  le64,
  noise,
  PAGE_OFFSET,
  PLACES,
  text,
  vmcoreinfoNote,
} from "./fake-machine.ts";

const look = (kernel: FakeKernel, hints = {}): Promise<Location> =>
  locateImage(kernel.memory, nodeSha256, hints);

function imageOf(location: Location): CaptureImage {
  if (location.found !== "image")
    throw new Error(`Expected an image, found ${JSON.stringify(location.found)}`);
  return location.image;
}

describe.each(FORMS)("an image of form %s", (form: Form) => {
  test("is found and proven, with header, digest, command line and segments", async () => {
    const kernel = new FakeKernel();
    const loaded = load(kernel, form);
    const image = imageOf(await look(kernel));
    expect(image.loaded).toBe("yes");
    expect(image.headerAddress).toBe(loaded.headerAddress);
    expect(image.headerCapacity).toBe(loaded.headerCapacity);
    expect(image.header).toEqual(loaded.header);
    expect(image.crashMemory.ranges).toEqual([CRASH]);
    expect(image.commandLine?.address).toBe(loaded.commandLineAddress);
    expect(image.commandLine?.text).toContain("acpi_no_memhotplug");
    expect(image.digest).toMatchObject({
      state: form === "file-6.6" ? "excludes-header" : "covers-header",
      address: loaded.digestAddress,
      table: { address: loaded.tableAddress },
    });
    expect(image.vmcoreinfo.release).toBe("6.1.0-fake-amd64");
    expect(image.kimage?.segments.length).toBe(loaded.segments.size);
    expect(image.kernel?.imagePointerAddress).toBe(PLACES.imagePointer);
  });

  test("is found by the address of its header alone, and by the range of crash memory", async () => {
    const kernel = new FakeKernel();
    const { headerAddress } = load(kernel, form);
    const found = imageOf(await look(kernel));
    expect(await look(kernel, { headerAddress })).toEqual({ found: "image", image: found });
    const hints = { crashMemory: RangeSet.of([CRASH]) };
    expect(await look(kernel, hints)).toEqual({ found: "image", image: found });
  });

  test("is found again through the kernel's pointer without a search, and RAM is asked for once", async () => {
    const kernel = new FakeKernel();
    load(kernel, form);
    const first = imageOf(await look(kernel));
    expect(kernel.memory.rangeCalls).toBe(1);
    kernel.memory.reads.length = 0;
    expect(await look(kernel, { kernel: first.kernel })).toEqual({ found: "image", image: first });
    expect(kernel.memory.rangeCalls).toBe(2);
    expect(kernel.memory.reads.filter(({ length }) => length > 0xa_0000)).toEqual([]);
    expect(kernel.memory.reads.length).toBeLessThan(40);
  });

  test("is not mistaken for its header's copies in memory that the header describes", async () => {
    const kernel = new FakeKernel();
    const { headerAddress, header } = load(kernel, form);
    for (const page of [0n, 3n, 7n])
      kernel.memory.poke(PLACES.user + page * 0x1000n, encodeCoreHeader(header));
    expect(imageOf(await look(kernel)).headerAddress).toBe(headerAddress);
    await expect(look(kernel, { headerAddress: PLACES.user })).rejects.toMatchObject({
      kind: "not-a-core-header",
      message: expect.stringContaining("a copy"),
    });
  });

  test("is told from the leftovers of an earlier load elsewhere in crash memory", async () => {
    const kernel = new FakeKernel();
    load(kernel, form === "load" ? "file" : "load", { seed: 99 });
    const { headerAddress } = load(kernel, form);
    const image = imageOf(await look(kernel));
    expect(image.headerAddress).toBe(headerAddress);
    expect(image.digest.state).toBe(form === "file-6.6" ? "excludes-header" : "covers-header");
  });

  test("counts as not loaded once the kernel has dropped it, though its bytes are left", async () => {
    const kernel = new FakeKernel();
    const { headerAddress } = load(kernel, form);
    const known = imageOf(await look(kernel)).kernel;
    unload(kernel);
    expect(await look(kernel)).toMatchObject({ found: "nothing-loaded", leftover: headerAddress });
    expect(await look(kernel, { kernel: known })).toMatchObject({ found: "nothing-loaded" });
    expect(await look(kernel, { headerAddress })).toMatchObject({ found: "nothing-loaded" });
  });

  test.each(["segment", "table", "digest"] as const)(
    "has a mismatch where its %s is another",
    async (place) => {
      const kernel = new FakeKernel();
      const loaded = load(kernel, form);
      const at = {
        segment: loaded.segments.get("initrd")!.start + 77n,
        table: loaded.tableAddress,
        digest: loaded.digestAddress + 31n,
      }[place];
      const bytes = kernel.memory.peek(at, 32);
      // Two regions exchanged are still a table, whose digest is another.
      const changed =
        place === "table"
          ? Buffer.concat([bytes.subarray(16), bytes.subarray(0, 16)])
          : Uint8Array.of(bytes[0]! ^ 1);
      kernel.memory.poke(at, changed);
      expect(imageOf(await look(kernel)).digest.state).toBe("mismatch");
    },
  );

  test("has no digest where its purgatory has no region table", async () => {
    const kernel = new FakeKernel();
    const { tableAddress } = load(kernel, form);
    kernel.memory.poke(tableAddress, new Uint8Array(256));
    expect(imageOf(await look(kernel)).digest.state).toBe("not-found");
  });

  test("is unconfirmed where no kernel tells where crash memory is, and its digest is found all the same", async () => {
    const kernel = new FakeKernel();
    const { headerAddress, digestAddress } = load(kernel, form);
    kernel.memory.poke(PLACES.name, text("Nothing here\0"));
    const image = imageOf(await look(kernel));
    expect(image.loaded).toBe("unconfirmed");
    expect(image.kernel).toBeUndefined();
    expect(image.headerAddress).toBe(headerAddress);
    expect(image.crashMemory.ranges).toEqual([CRASH]);
    expect(image.digest).toMatchObject({ address: digestAddress });
    expect(image.commandLine?.text).toContain("elfcorehdr=");
  });
});

test("a machine without crashkernel= has no crash memory", async () => {
  const kernel = new FakeKernel({ crashkRes: undefined });
  expect(await look(kernel)).toMatchObject({ found: "no-crash-memory" });
});

test("a machine with crash memory in which nothing was ever loaded has nothing loaded", async () => {
  expect(await look(new FakeKernel())).toMatchObject({ found: "nothing-loaded", leftover: undefined });
});

test("a machine without a Linux kernel is unknown", async () => {
  const kernel = new FakeKernel();
  kernel.memory.poke(PLACES.note, new Uint8Array(4132));
  expect(await look(kernel)).toMatchObject({ found: "unknown" });
});

test("a machine without RAM is unknown", async () => {
  const kernel = new FakeKernel();
  kernel.memory.setRam(RangeSet.empty);
  expect(await look(kernel)).toMatchObject({ found: "unknown" });
});

test("a VMCOREINFO note that a kernel before the reset left behind is passed over", async () => {
  const kernel = new FakeKernel();
  const stale = vmcoreinfoNote("5.10.0-gone", 0xffff_ffff_8800_0000n, 0x200_8000n);
  kernel.memory.poke(0x200_0000n, stale);
  const { headerAddress } = load(kernel, "file");
  expect(imageOf(await look(kernel)).headerAddress).toBe(headerAddress);
  unload(kernel);
  kernel.memory.poke(headerAddress, new Uint8Array(64));
  expect(await look(kernel)).toMatchObject({
    found: "nothing-loaded",
    kernel: { vmcoreinfo: { release: "6.1.0-fake-amd64" } },
  });
});

describe("with crash memory below and above 4 GiB", () => {
  const low = { start: 0x3ec0_0000n, end: 0x3ed0_0000n };
  const high = { start: 0x1_4000_0000n, end: 0x1_4040_0000n };
  const boot = (): FakeKernel =>
    new FakeKernel({ ram: BOOT_RAM.union(RangeSet.of([high])), crashkRes: high, crashkLowRes: low });

  test("the image is found above", async () => {
    const kernel = boot();
    const { headerAddress } = load(kernel, "file", { base: high.start });
    const image = imageOf(await look(kernel));
    expect(image.headerAddress).toBe(headerAddress);
    expect(image.crashMemory.ranges).toEqual([low, high]);
    expect(image.loaded).toBe("yes");
  });

  test("the image is found above although a leftover lies below", async () => {
    const kernel = boot();
    const { header, headerAddress } = load(kernel, "file", { base: high.start });
    kernel.memory.poke(low.start + 0x2000n, encodeCoreHeader(header));
    expect(imageOf(await look(kernel)).headerAddress).toBe(headerAddress);
  });

  test("nothing loaded is seen as such", async () => {
    expect(await look(boot())).toMatchObject({ found: "nothing-loaded" });
  });
});

test("a given address outside RAM, and one of anything else, is refused in words", async () => {
  const kernel = new FakeKernel();
  load(kernel, "file");
  for (const headerAddress of [0x5_0000_0000n, PLACES.user, CRASH.start + 0x1000n, 1n << 64n]) {
    await expect(look(kernel, { headerAddress })).rejects.toMatchObject({ kind: "not-a-core-header" });
  }
});

test("a given address of a leftover says which header is the loaded one", async () => {
  const kernel = new FakeKernel();
  const old = load(kernel, "load");
  const { headerAddress } = load(kernel, "file");
  expect(await look(kernel, { headerAddress: old.headerAddress })).toMatchObject({
    found: "unknown",
    reason: expect.stringContaining(`0x${headerAddress.toString(16)}`),
  });
});

test("a loaded image whose header does not hold is not called unloaded because of a leftover", async () => {
  const kernel = new FakeKernel();
  load(kernel, "load");
  const { headerAddress } = load(kernel, "file");
  // Its VMCOREINFO note leads nowhere.
  kernel.memory.poke(headerAddress + 64n + 2n * 56n + 24n, le64(0x9_0000_0000n));
  expect(await look(kernel)).toMatchObject({
    found: "unknown",
    reason: expect.stringContaining("a capture kernel is loaded"),
  });
});

test("a header whose loads disagree on the linear map leaves it open whether it is loaded", async () => {
  const kernel = new FakeKernel();
  const { headerAddress } = load(kernel, "file");
  kernel.memory.poke(headerAddress + 64n + 4n * 56n + 16n, le64(0xffff_8880_0000_0000n));
  expect(await look(kernel)).toMatchObject({ found: "unknown" });
  expect(await look(kernel, { headerAddress })).toMatchObject({ found: "unknown" });
});

test("CPU notes that a panic has filled do not disprove a header, other bytes do", async () => {
  const kernel = new FakeKernel();
  const { headerAddress } = load(kernel, "file");
  kernel.fillCrashNote(0);
  expect(imageOf(await look(kernel)).headerAddress).toBe(headerAddress);
  kernel.memory.poke(kernel.crashNote(1), noise(368, 5));
  expect(await look(kernel)).toMatchObject({ found: "unknown" });
});

test("an unloaded image is not found through a stray pointer behind the kernel's end", async () => {
  // The kernel's memory goes on behind _end: pages of others, where a pointer to the freed image may be left.
  const ram = BOOT_RAM.union(RangeSet.of([{ start: 0x104_0000n, end: 0x106_0000n }]));
  const kernel = new FakeKernel({ ram });
  load(kernel, "file");
  const pointer = kernel.memory.peek(PLACES.imagePointer, 8);
  unload(kernel);
  kernel.memory.poke(0x105_0000n, pointer);
  expect(await look(kernel)).toMatchObject({ found: "nothing-loaded" });
});

test("the loaded image is not mistaken for a freed one to which the kernel's data still points", async () => {
  const kernel = new FakeKernel();
  const old = PLACES.kimage + 0x400n;
  load(kernel, "file", { kimage: old, seed: 3 });
  // SLUB's pointer to the next free object, in the middle of a freed one of 1024 bytes.
  kernel.memory.poke(old + 512n, le64(0x5a5a_a5a5_1234_8765n));
  kernel.memory.poke(KERNEL + 0x2_8020n, le64(PAGE_OFFSET + old));
  load(kernel, "load");
  const { kimage, kernel: found } = imageOf(await look(kernel));
  expect(kimage!.address).toBe(PLACES.kimage);
  expect(found!.imagePointerAddress).toBe(PLACES.imagePointer);
});

describe("a kernel whose memory of its first moments is used for other things by now", () => {
  /** Behind what the fake kernel has, and before the pointer that counts. */
  const FREED = KERNEL + 0x4_0000n;
  const POINTER = KERNEL + 0x1f_0000n;
  const SPAN = 0x20_0000n;
  const RAM = BOOT_RAM.union(RangeSet.of([{ start: KERNEL, end: KERNEL + SPAN }]));

  /** Looks for the image where `count` pointers, each `step` bytes further, come before the one that leads to it. */
  async function find(
    { count, step, kimage = PLACES.kimage }: { count: number; step: bigint; kimage?: bigint },
    release = "6.1.0-fake-amd64",
  ): Promise<Awaited<ReturnType<typeof findLoadedImage>>> {
    const kernel = new FakeKernel({ ram: RAM });
    load(kernel, "file");
    const { header, kernel: running } = imageOf(await look(kernel));
    kernel.memory.poke(kimage, kernel.memory.peek(PLACES.kimage, 1024));
    kernel.setPointer(0n);
    kernel.memory.poke(POINTER, le64(PAGE_OFFSET + kimage));
    for (let i = 0; i < count; i++)
      kernel.memory.poke(FREED + BigInt(i * 8), le64(PAGE_OFFSET + 0x400_0000n + BigInt(i + 1) * step));
    const programHeaders = header.programHeaders.map((each) =>
      isKernelText(each) ? { ...each, p_paddr: KERNEL, p_memsz: SPAN } : each,
    );
    const { vmcoreinfo } = running!;
    return await findLoadedImage(
      kernel.memory,
      RAM,
      { ...running!, vmcoreinfo: { ...vmcoreinfo, release } },
      { ...header, programHeaders },
      new KernelBytes(),
    );
  }

  test("is found to have an image however many pointers lead to where none can be", async () => {
    const found = await find({ count: 200_000, step: 8n });
    expect(found?.image.address).toBe(PLACES.kimage);
    expect(found?.kernel.imagePointerAddress).toBe(POINTER);
  });

  test("is not said to have none where too many lead to where one might be", async () => {
    await expect(find({ count: 60_000, step: 1024n })).rejects.toThrow(
      "more than 50000 pointers that may lead to a loaded image",
    );
  });

  test("has its image at a multiple of 1024 since Linux 5.4, and anywhere before", async () => {
    const kimage = PLACES.user + 0x88n;
    expect(await find({ count: 0, step: 8n, kimage })).toBeUndefined();
    expect((await find({ count: 0, step: 8n, kimage }, "4.18.0-553.el8_10.x86_64"))?.image.address).toBe(
      kimage,
    );
    expect((await find({ count: 0, step: 8n, kimage }, "5.3.18-default"))?.image.address).toBe(kimage);
    expect(await find({ count: 0, step: 8n, kimage }, "5.4.0")).toBeUndefined();
  });
});
