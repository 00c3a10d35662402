/** makedumpfile in the capture kernel, where a distribution runs it too. */
import type { CpioEntry } from "./cpio.ts";
import { TOOL_PATHS, type ToolsSupply } from "./fetch/tools.ts";
import { programEntries } from "./guest-programs.ts";

/** Where the capture kernel calls it. */
export const GUEST_MAKEDUMPFILE = "/usr/bin/makedumpfile";

/**
 * What the capture kernel's initramfs takes in for makedumpfile: nothing of the other tools, which run outside.
 *
 * @throws the file system's error where a part cannot be read.
 */
export async function makedumpfileEntries(tools: ToolsSupply): Promise<readonly CpioEntry[]> {
  const { files, loader, makedumpfileFiles } = tools;
  const wanted = new Set(makedumpfileFiles);
  return programEntries({
    root: "/tools",
    files: files.filter(({ guestPath }) => wanted.has(guestPath)),
    loader,
    called: [{ at: GUEST_MAKEDUMPFILE, program: TOOL_PATHS.makedumpfile }],
  });
}
