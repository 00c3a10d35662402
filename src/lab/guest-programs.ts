/**
 * Programs of a Debian release in an initramfs that has programs of another one.
 *
 * Each release's programs want its own C library. So they lie in a directory of their own, laid out as in Debian, and
 * what is called is a script of one line that starts their own loader on their own libraries.
 */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { CpioEntry } from "./cpio.ts";
import type { SuppliedFile } from "./fetch/program.ts";

/** Programs, and where a guest has and calls them. Paths are absolute. */
export interface GuestPrograms {
  /** The directory of their own. */
  readonly root: string;
  /** Programs, libraries and loader, at their paths in Debian. */
  readonly files: readonly SuppliedFile[];
  /** The loader's path in Debian. */
  readonly loader: string;
  /** Where each is called, and its path in Debian. */
  readonly called: readonly { readonly at: string; readonly program: string }[];
}

/**
 * What an initramfs takes in for these programs.
 *
 * @throws the file system's error where a part cannot be read.
 */
export async function programEntries(programs: GuestPrograms): Promise<readonly CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const { guestPath, hostPath } of programs.files) {
    const name = `${programs.root}${guestPath}`.slice(1);
    entries.push({ kind: "file", name, mode: 0o755, data: await readFile(hostPath) });
  }
  for (const { at, program } of programs.called) {
    const data = new TextEncoder().encode(wrapper(programs, program));
    entries.push({ kind: "file", name: at.slice(1), mode: 0o755, data });
  }
  return entries;
}

/** Keeps the program's own name as `argv[0]`: udevd and udevadm are one program that looks at it. */
function wrapper({ root, loader, files }: GuestPrograms, program: string): string {
  const libraries = files.filter(({ guestPath }) => /\.so(?:\.|$)/.test(guestPath) && guestPath !== loader);
  const directories = [...new Set(libraries.map(({ guestPath }) => `${root}${dirname(guestPath)}`))];
  return `#!/bin/sh
exec ${root}${loader} --inhibit-cache --library-path ${directories.join(":")} ${root}${program} "$@"
`;
}
