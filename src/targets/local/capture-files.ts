/** What a distribution loads as its capture kernel, or what somebody names instead. */
import { hasParameter } from "../../image/command-line.ts";
import type { ReadTree } from "../../layout/sysfs.ts";
import { type CaptureFiles, isThere } from "./capture-facts.ts";
import { DEBIAN_DEFAULTS, debianCapture } from "./capture-debian.ts";
import { FEDORA_SYSCONFIG, fedoraCapture } from "./capture-fedora.ts";

/** What is named in place of the distribution's. */
export interface GivenCapture {
  readonly kernel?: string;
  /** Without a kernel that is named too: in place of the distribution's for its kernel. */
  readonly initrd?: string;
  readonly commandLine?: string;
}

/** Raised where it cannot be told what is to be loaded. */
export class CaptureFilesError extends Error {
  override readonly name = "CaptureFilesError";
}

/** What to do where the distribution does not tell. */
const NAME_THEM = "name the kernel, its initrd and its command line";

/**
 * Finds what to load.
 *
 * @param tree the machine's files.
 * @throws {CaptureFilesError} where neither `given` nor a configuration tells, or a file that it names is not there.
 * @throws {ShellFileError} where only a shell could read the configuration.
 */
export async function findCaptureFiles(tree: ReadTree, given: GivenCapture = {}): Promise<CaptureFiles> {
  const found = await fromDistribution(tree, given);
  if (!(await isThere(tree, found.kernel)))
    throw new CaptureFilesError(
      `Cannot load a capture kernel: there is no ${found.kernel}, the kernel of ${found.source}; ${NAME_THEM}`,
    );
  if (found.initrd !== undefined && !(await isThere(tree, found.initrd)))
    throw new CaptureFilesError(
      `Cannot load a capture kernel: there is no ${found.initrd}, the initrd of ${found.source}; let the distribution make it, or ${NAME_THEM}`,
    );
  const notes = hasParameter(found.commandLine, "acpi_no_memhotplug")
    ? found.notes
    : [
        ...found.notes,
        "The command line lacks acpi_no_memhotplug: a capture kernel takes hot-added memory for itself, and the dump cannot read it",
      ];
  return { ...found, notes };
}

async function fromDistribution(tree: ReadTree, given: GivenCapture): Promise<CaptureFiles> {
  const { kernel, initrd, commandLine } = given;
  if (kernel !== undefined && commandLine !== undefined)
    return { kernel, initrd, commandLine, source: "what was named", notes: [] };
  const found = await configured(tree);
  if (kernel !== undefined) {
    // Another kernel's initrd would be of no use.
    return { ...found, kernel, initrd, source: `what was named, with the command line of ${found.source}` };
  }
  if (initrd === undefined && commandLine === undefined) return found;
  return {
    ...found,
    initrd: initrd ?? found.initrd,
    commandLine: commandLine ?? found.commandLine,
    source: `${found.source}, with what was named`,
  };
}

async function configured(tree: ReadTree): Promise<CaptureFiles> {
  for (const [path, read] of [
    [DEBIAN_DEFAULTS, debianCapture],
    [FEDORA_SYSCONFIG, fedoraCapture],
  ] as const) {
    const text = await tree.readText(path);
    if (text === undefined) continue;
    const found = await read(tree, text);
    if (found === undefined)
      throw new CaptureFilesError(
        `Cannot load a capture kernel: ${path} names none, and none of the running kernel's was found; ${NAME_THEM}`,
      );
    return found;
  }
  throw new CaptureFilesError(
    `Cannot load a capture kernel: there is neither ${DEBIAN_DEFAULTS} (Debian, Ubuntu) nor ${FEDORA_SYSCONFIG} (RHEL, Fedora) that tells which; ${NAME_THEM}`,
  );
}
