/** /proc/iomem as text in, ranges out. */
import { LayoutError } from "./error.ts";
import { inclusiveRange, type PhysicalRange } from "./range.ts";
import { RangeSet } from "./range-set.ts";

const ACTION = "read /proc/iomem";

/** One line of /proc/iomem. */
export interface IomemEntry {
  /** 0 for a line without indentation, one more for each step inwards (2 spaces). */
  readonly depth: number;
  readonly range: PhysicalRange;
  readonly name: string;
}

const LINE = /^( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)$/;

/**
 * Parses /proc/iomem, whose lines are `first-last : name`, inclusive and in hex (kernel/resource.c).
 *
 * @throws {LayoutError} where a line is not of that form, or where all addresses are zero, which is how the
 *   kernel hides them from who lacks CAP_SYS_ADMIN.
 *
 * @example
 * ```ts
 * import { crashKernel, parseIomem, systemRam } from "kdump-hotplug";
 *
 * const entries = parseIomem(`00001000-0009ffff : System RAM
 * 00100000-7fffffff : System RAM
 *   6f000000-7effffff : Crash kernel
 * `);
 * console.log(systemRam(entries).toString()); // 0x1000-0xa0000 (636 KiB), 0x100000-0x80000000 (2047 MiB); 2096764 KiB in all
 * console.log(crashKernel(entries).bytes); // 268435456n
 * ```
 */
export function parseIomem(text: string): readonly IomemEntry[] {
  const entries: IomemEntry[] = [];
  let hidden = text.trim() !== "";
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") {
      continue;
    }
    const match = LINE.exec(line);
    if (match === null) {
      throw new LayoutError(
        ACTION,
        `line ${index + 1}`,
        `is ${JSON.stringify(line.slice(0, 120))}, expected "first-last : name" in hex`,
      );
    }
    const [, indent = "", firstDigits = "", lastDigits = "", name = ""] = match;
    const first = BigInt(`0x${firstDigits}`);
    const last = BigInt(`0x${lastDigits}`);
    hidden &&= first === 0n && last === 0n;
    if (first > last) {
      throw new LayoutError(
        ACTION,
        `line ${index + 1}`,
        `ends before it starts: ${JSON.stringify(line.trim())}`,
      );
    }
    entries.push({ depth: indent.length >>> 1, range: inclusiveRange(first, last), name });
  }
  if (hidden) {
    throw new LayoutError(ACTION, "", "addresses are hidden, read it as root");
  }
  return entries;
}

/**
 * RAM that the kernel uses: every line whose name contains "System RAM", at any depth, so that
 * "System RAM (kmem)" and "System RAM (virtio_mem)" count (as kexec-tools does since 2.0.22, 7175859).
 * Crash memory lies inside and is not taken out.
 */
export function systemRam(entries: readonly IomemEntry[]): RangeSet {
  return RangeSet.of(entries.filter(({ name }) => name.includes("System RAM")).map(({ range }) => range));
}

/** Crash memory: the ranges named "Crash kernel", none to two of them on x86-64. */
export function crashKernel(entries: readonly IomemEntry[]): RangeSet {
  return RangeSet.of(entries.filter(({ name }) => name === "Crash kernel").map(({ range }) => range));
}

/**
 * The running kernel's image, from the start of "Kernel code" to the end of the last "Kernel ..." section above it
 * ("Kernel bss" where it is listed).
 *
 * @returns undefined where there is no "Kernel code".
 */
export function kernelImage(entries: readonly IomemEntry[]): PhysicalRange | undefined {
  const code = entries.find(({ name }) => name === "Kernel code");
  if (code === undefined) {
    return undefined;
  }
  let { end } = code.range;
  for (const { name, range } of entries) {
    if (SECTIONS.has(name) && range.start >= code.range.start && range.end > end) {
      end = range.end;
    }
  }
  return { start: code.range.start, end };
}

const SECTIONS: ReadonlySet<string> = new Set(["Kernel rodata", "Kernel data", "Kernel bss"]);
