/** Debian's cloud kernels, unpacked, and kernels given by hand. */
import { mkdir, open, readdir, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CacheEntry } from "./cache.ts";
import { FetchError } from "./errors.ts";
import type { Workshop } from "./workshop.ts";

/** A kernel series that the lab knows by name. */
export type KernelSeries = "5.10" | "6.1" | "6.12";

/** A kernel for the lab's guests. Paths are absolute. */
export interface KernelSupply {
  readonly suite: "bullseye" | "bookworm" | "trixie" | "given";
  /** `uname -r`: `6.1.0-50-cloud-amd64`. */
  readonly release: string;
  readonly vmlinuz: string;
  /** Modules that virtio-mem needs and the kernel has not built in; empty for a kernel given by hand. */
  readonly modules: readonly string[];
}

/** The series and the Debian release whose kernel it is. */
export const KERNEL_SUITES: Readonly<Record<KernelSeries, "bullseye" | "bookworm" | "trixie">> = {
  "5.10": "bullseye",
  "6.1": "bookworm",
  "6.12": "trixie",
};

/** Every series, oldest first. */
export const KERNEL_SERIES: readonly KernelSeries[] = ["5.10", "6.1", "6.12"];

/** Tells a series from a path. */
export function isKernelSeries(text: string): text is KernelSeries {
  return Object.hasOwn(KERNEL_SUITES, text);
}

/** The release that a kernel's guest takes its other programs from: its own, the newest for one given by hand. */
export function suiteOf(kernel: string): "bullseye" | "bookworm" | "trixie" {
  return isKernelSeries(kernel) ? KERNEL_SUITES[kernel] : "trixie";
}

/** The supply's name in the cache: one for each form that entries have had. */
export function kernelEntryName(series: KernelSeries): string {
  return `kernel-${series}-v2`;
}

/** In the package's module tree, and in the entry. */
const VIRTIO = "kernel/drivers/virtio";
const VIRTIO_MEM_NEEDS = /^virtio(?:_ring|_pci(?:_\w+)?|_mem)?\.ko(?:\.xz)?$/;

/** The meta package that follows the newest cloud kernel of a suite. */
const META_PACKAGE = "linux-image-cloud-amd64";

/**
 * Fetches a series' newest cloud kernel from its Debian release into the cache.
 *
 * @throws {FetchError} where that release is not in the archive, cannot be trusted, or has another series.
 */
export async function fetchKernel(workshop: Workshop, series: KernelSeries): Promise<CacheEntry> {
  const { cache, log } = workshop.context;
  const suite = KERNEL_SUITES[series];
  const apt = await workshop.suite(suite);
  const image = imageOfMeta((await apt.candidate(META_PACKAGE)).depends, suite);
  const { version, size } = await apt.candidate(image);
  const release = image.slice("linux-image-".length);
  if (!release.startsWith(`${series}.`)) {
    throw new FetchError(`the archive's ${suite} has kernel ${release}, not ${series}`);
  }
  log(`Fetching ${image} ${version} of ${suite} (${Math.round(size / 1e6)} MB)`);
  const root = await workshop.unpack(apt, [{ name: image, version }]);

  const entry = await workshop.directory("kernel");
  await rename(join(root, "boot", `vmlinuz-${release}`), join(entry, "vmlinuz"));
  await mkdir(join(entry, "modules"));
  const drivers = join(root, ...(await moduleTree(root)), release, VIRTIO);
  const files = await readdir(drivers).catch((cause: unknown) => {
    throw new FetchError(`${image} of ${suite} has no ${VIRTIO}`, { cause });
  });
  for (const file of files.filter((name) => VIRTIO_MEM_NEEDS.test(name)))
    await rename(join(drivers, file), join(entry, "modules", file));
  return cache.publish(kernelEntryName(series), entry, { package: image, version, facts: { release } });
}

/** Debian 13's packages have it in /usr, older ones do not. */
async function moduleTree(root: string): Promise<readonly string[]> {
  const merged = ["usr", "lib", "modules"];
  return (await stat(join(root, ...merged)).catch(() => undefined)) ? merged : ["lib", "modules"];
}

/** Finds `linux-image-RELEASE-cloud-amd64` among what the meta package depends on. */
function imageOfMeta(depends: string, suite: string): string {
  const image = /(?:^|[\s,])(linux-image-\d\S*-cloud-amd64)(?=[\s,(]|$)/.exec(depends)?.[1];
  if (image === undefined)
    throw new FetchError(`${META_PACKAGE} of ${suite} depends on no kernel: "${depends}"`);
  return image;
}

/** The supply that a cache entry stands for. */
export function kernelFromEntry(series: KernelSeries, entry: CacheEntry): KernelSupply {
  return {
    suite: KERNEL_SUITES[series],
    release: entry.facts["release"] ?? "",
    vmlinuz: join(entry.directory, "vmlinuz"),
    modules: entry.files
      .filter((file) => file.startsWith("modules/"))
      .map((file) => join(entry.directory, file)),
  };
}

/**
 * A kernel given by hand: an x86 bzImage, which says its release itself.
 *
 * @param path absolute.
 * @throws {FetchError} where the file is not readable or no bzImage.
 * @see Documentation/arch/x86/boot.rst, fields `header` (0x202) and `kernel_version` (0x20e).
 */
export async function givenKernel(path: string): Promise<KernelSupply> {
  const file = await open(path, "r").catch((cause: unknown) => {
    const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    const words = cause instanceof Error ? cause.message : String(cause);
    throw new FetchError(isMissing ? `there is no file ${path}` : words, { cause });
  });
  try {
    // The real-mode part, which holds the header and the version string, is at most 64 sectors.
    const { buffer, bytesRead } = await file.read(Buffer.alloc(32 * 1024), 0, 32 * 1024, 0);
    const isBzImage = bytesRead > 0x210 && buffer.toString("latin1", 0x202, 0x206) === "HdrS";
    if (!isBzImage) throw new FetchError(`${path} is not an x86 kernel image (bzImage)`);
    const at = buffer.readUInt16LE(0x20e) + 0x200;
    const banner = buffer.toString("latin1", at, Math.min(at + 256, bytesRead)).split("\0", 1)[0] ?? "";
    const release = /^\S+/.exec(banner)?.[0];
    if (release === undefined) throw new FetchError(`${path} does not say its release`);
    return { suite: "given", release, vmlinuz: path, modules: [] };
  } finally {
    await file.close();
  }
}
