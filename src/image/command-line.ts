/** The capture kernel's command line, as it lies in the loaded image. */
import { findBytes, textUntilNul } from "./bytes.ts";

const ELFCOREHDR = new TextEncoder().encode("elfcorehdr=");
/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h). */
const COMMAND_LINE_SIZE = 2048;

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

/** Whether the parameter `name` stands on the command line, with or without a value. */
export function hasParameter(commandLine: string, name: string): boolean {
  return parameters(commandLine).some((p) => p === name || p.startsWith(`${name}=`));
}

/**
 * The command line in `bytes` (read at physical `base`) that names the core header at `headerAddress`.
 *
 * Text before `elfcorehdr=` belongs to it as far back as printable characters go: the kernel puts the parameter
 * first, kexec-tools last.
 */
export function findCommandLine(
  bytes: Uint8Array,
  base: bigint,
  headerAddress: bigint,
): CaptureCommandLine | undefined {
  for (const hit of findBytes(bytes, ELFCOREHDR)) {
    let start = hit;
    while (start > 0 && hit - start < COMMAND_LINE_SIZE && isPrintable(bytes[start - 1]!)) start--;
    const text = textUntilNul(bytes.subarray(start, start + COMMAND_LINE_SIZE));
    if (elfcorehdrOf(text) === headerAddress) return { address: base + BigInt(start), text };
  }
  return undefined;
}

function parameters(commandLine: string): readonly string[] {
  return commandLine.split(/\s+/);
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}
