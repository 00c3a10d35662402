/** Node in a guest, and our own built program with it: what the target `local` needs to be run for real. */
import { readFile } from "node:fs/promises";
import type { CpioEntry } from "./cpio.ts";
import type { NodeSupply } from "./fetch/node.ts";
import { OWN_PROGRAM_MAIN } from "./fetch/own-program.ts";
import { programEntries } from "./guest-programs.ts";

/** Where a guest has Node's files. */
const ROOT = "/node";
/** Where a guest calls Node. There, `process.execPath` is Node's loader: who starts Node calls it by this path. */
export const GUEST_NODE = "/usr/bin/node";
/** Where a guest calls our program. */
export const GUEST_KDUMP_HOTPLUG = "/usr/bin/kdump-hotplug";

const OWN_SCRIPT = `#!/bin/sh
exec ${GUEST_NODE} ${OWN_PROGRAM_MAIN} "$@"
`;

/**
 * What a guest's initramfs takes in for Node and our program.
 *
 * @throws the file system's error where a part cannot be read.
 */
export async function nodeEntries(supply: NodeSupply): Promise<readonly CpioEntry[]> {
  const { binary, loader, files, builtins, program } = supply;
  const entries: CpioEntry[] = [
    ...(await programEntries({ root: ROOT, files, loader, called: [{ at: GUEST_NODE, program: binary }] })),
    {
      kind: "file",
      name: GUEST_KDUMP_HOTPLUG.slice(1),
      mode: 0o755,
      data: new TextEncoder().encode(OWN_SCRIPT),
    },
  ];
  for (const { guestPath, hostPath } of [...builtins, ...program])
    entries.push({ kind: "file", name: guestPath.slice(1), mode: 0o644, data: await readFile(hostPath) });
  return entries;
}
