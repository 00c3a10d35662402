/** The capture kernel's command line, as it lies in the loaded image. */
import { findBytes, textUntilNul } from "./bytes.ts";

const ELFCOREHDR = new TextEncoder().encode("elfcorehdr=");
/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h). */
export const COMMAND_LINE_SIZE = 2048;

/** A command line found in an image. */
export interface CaptureCommandLine {
  /** Physical address of its first character. */
  readonly address: bigint;
  readonly text: string;
}

/** memparse(): a number in C notation and one binary suffix (lib/cmdline.c). */
function memparse(text: string): bigint | undefined {
  const match = /^(0x[0-9a-f]{1,16}|\d{1,20})([kmgt]?)$/i.exec(text);
  if (!match) return undefined;
  const shift = { "": 0n, k: 10n, m: 20n, g: 30n, t: 40n }[match[2]!.toLowerCase()];
  return BigInt(match[1]!) << shift!;
}

/** The address that a command line's last `elfcorehdr=[size@]offset` gives, or undefined. */
export function elfcorehdrOf(commandLine: string): bigint | undefined {
  const value = parameters(commandLine)
    .findLast((p) => p.startsWith("elfcorehdr="))
    ?.slice("elfcorehdr=".length);
  return value === undefined ? undefined : memparse(value.slice(value.indexOf("@") + 1));
}

/**
 * `commandLine` with its last `elfcorehdr=` naming `address`, and exactly as long as before: what becomes shorter is
 * padded with spaces, which a kernel skips. Undefined where there is no such parameter, where it has a size
 * (`size@offset`, which no loader of x86 writes), where quotes make it a part of another one, or where `address` takes
 * more characters than there are.
 */
export function withElfcorehdr(commandLine: string, address: bigint): string | undefined {
  const found = [...commandLine.matchAll(/(?<=^|\s)elfcorehdr=(\S*)/g)].at(-1);
  if (!found) return undefined;
  const { index } = found;
  const old = found[1]!;
  const quotes = commandLine.slice(0, index).split('"').length - 1;
  if (quotes % 2 !== 0 || memparse(old) === undefined) return undefined;
  // The notation of the loader first: 0x<hex> is the kernel's, <decimal>K that of kexec-tools.
  const forms = [`0x${address.toString(16)}`, `${address}`];
  if (address % 1024n === 0n) forms.push(`${address / 1024n}K`);
  const wanted = old.endsWith("K") ? forms.toReversed() : forms;
  const value = wanted.find(({ length }) => length <= old.length);
  if (value === undefined) return undefined;
  const start = index + "elfcorehdr=".length;
  return commandLine.slice(0, start) + value.padEnd(old.length) + commandLine.slice(start + old.length);
}

/** Whether the parameter `name` stands on the command line, with or without a value. */
export function hasParameter(commandLine: string, name: string): boolean {
  return parameters(commandLine).some((p) => p === name || p.startsWith(`${name}=`));
}

/**
 * The command line in `bytes` (read at physical `base`) that names the core header at `headerAddress`.
 */
export function findCommandLine(
  bytes: Uint8Array,
  base: bigint,
  headerAddress: bigint,
): CaptureCommandLine | undefined {
  const found = findCommandLines(bytes).find(({ text }) => elfcorehdrOf(text) === headerAddress);
  return found && { address: base + BigInt(found.offset), text: found.text };
}

/**
 * Every text in `bytes` that is a command line with `elfcorehdr=`, in one pass.
 *
 * Text before `elfcorehdr=` belongs to it as far back as printable characters go: the kernel puts the parameter
 * first, kexec-tools last.
 */
export function findCommandLines(
  bytes: Uint8Array,
): readonly { readonly offset: number; readonly text: string }[] {
  const lines: { readonly offset: number; readonly text: string }[] = [];
  let end = 0;
  for (const hit of findBytes(bytes, ELFCOREHDR)) {
    // The parameter a second time, in a line that was read already.
    if (hit < end) continue;
    let offset = hit;
    while (offset > 0 && hit - offset < COMMAND_LINE_SIZE && isPrintable(bytes[offset - 1]!)) offset--;
    const text = textUntilNul(bytes.subarray(offset, offset + COMMAND_LINE_SIZE));
    lines.push({ offset, text });
    end = offset + text.length;
  }
  return lines;
}

function parameters(commandLine: string): readonly string[] {
  return commandLine.split(/\s+/);
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}
