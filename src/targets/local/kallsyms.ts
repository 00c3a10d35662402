/** /proc/kallsyms: where the running kernel has its variables. */
import { closeSync, readSync } from "node:fs";
import { codeOf } from "../qemu/unix-socket.ts";
import { LocalError } from "./error.ts";
import { openToRead } from "./file.ts";
import type { RootTree } from "./tree.ts";

const KALLSYMS = "/proc/kallsyms";
const CHUNK = 1024 * 1024;
/** A kernel with all its modules has some 20 MiB. */
const MAX_BYTES = 256 * 1024 * 1024;
const MAX_LINE = 4096;

/**
 * Addresses of the symbols named `names` of the kernel itself, by name.
 *
 * A name is left out where there is none such (variables are listed only with CONFIG_KALLSYMS_ALL), where several symbols
 * have it, and where the kernel hides its address (`kptr_restrict`, or no CAP_SYSLOG) by showing zero.
 */
export async function findSymbols(
  tree: RootTree,
  names: readonly string[],
): Promise<ReadonlyMap<string, bigint>> {
  const search = new SymbolSearch(names);
  const shown = tree.shown(KALLSYMS);
  const file = openToRead(await tree.locate(KALLSYMS), shown);
  if (typeof file === "string") return search.found;
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (let total = 0; total < MAX_BYTES;) {
      const bytesRead = readSync(file, chunk, 0, CHUNK, null);
      if (bytesRead === 0 || !search.append(chunk.toString("latin1", 0, bytesRead))) break;
      total += bytesRead;
    }
  } catch (error) {
    const code = codeOf(error);
    if (code === "") throw error;
    throw new LocalError("malformed", `${shown} cannot be read: ${code}`, { cause: error });
  } finally {
    closeSync(file);
  }
  return search.found;
}

/** Looks for symbols in text that comes in pieces. */
export class SymbolSearch {
  readonly #names: readonly string[];
  readonly #addresses = new Map<string, Set<bigint>>();
  #rest = "";

  constructor(names: readonly string[]) {
    this.#names = names;
  }

  /** @returns whether more text can hold more: modules' symbols come last, and are not asked for. */
  append(text: string): boolean {
    const all = this.#rest + text;
    const end = all.lastIndexOf("\n") + 1;
    // A line without an end is none of the kernel's.
    this.#rest = all.length - end > MAX_LINE ? "" : all.slice(end);
    const lines = all.slice(0, end);
    const modules = lines.indexOf("\t[");
    const kernel = modules === -1 ? lines : lines.slice(0, lines.lastIndexOf("\n", modules) + 1);
    for (const name of this.#names) this.#look(kernel, name);
    return modules === -1;
  }

  /** What was found so far: names with exactly one address. */
  get found(): ReadonlyMap<string, bigint> {
    const found = new Map<string, bigint>();
    for (const [name, addresses] of this.#addresses) {
      const [address, ...others] = addresses;
      if (address !== undefined && address !== 0n && others.length === 0) found.set(name, address);
    }
    return found;
  }

  #look(lines: string, name: string): void {
    const ending = ` ${name}\n`;
    for (let at = lines.indexOf(ending); at !== -1; at = lines.indexOf(ending, at + 1)) {
      const line = lines.slice(lines.lastIndexOf("\n", at) + 1, at);
      const address = /^([0-9a-f]{1,16}) [a-zA-Z]$/.exec(line)?.[1];
      if (address === undefined) continue;
      const addresses = this.#addresses.get(name) ?? new Set();
      this.#addresses.set(name, addresses.add(BigInt(`0x${address}`)));
    }
  }
}
