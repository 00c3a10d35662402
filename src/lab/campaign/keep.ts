/** What is kept of a trial that failed. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { programHeaderCount } from "../../elfcore/decode.ts";
import { coreHeaderSize, EHDR_SIZE } from "../../elfcore/header.ts";
import type { ReadyGuest } from "./guests.ts";
import type { TrialRecord } from "./results.ts";
import type { Ran } from "./runner.ts";

/** Without the room behind the header, which on 6.12 is 900 KiB. */
function cutHeader(bytes: Uint8Array): Uint8Array {
  try {
    return bytes.subarray(0, coreHeaderSize(programHeaderCount(bytes.subarray(0, EHDR_SIZE))));
  } catch {
    // None is there, or half of one: that is worth seeing as a whole.
    return bytes;
  }
}

/**
 * Keeps what explains a failed trial, in a directory of its own under `parent`: console log, what QEMU said on both
 * monitors, the header before and after and the dump's own, and the trial's line.
 */
export async function keepEvidence(
  parent: string,
  record: TrialRecord,
  { facts, result }: Ran,
  { guest }: ReadyGuest,
): Promise<string> {
  const directory = join(parent, record.id.replaceAll(/[^\w.-]+/g, "_"));
  await mkdir(directory, { recursive: true });
  await guest.keepLogs(directory);
  await writeFile(join(directory, "header-before.elf"), facts.header.bytes);
  await writeFile(join(directory, "header-after.elf"), cutHeader(result.headerAfter));
  if (result.dumpHeader) await writeFile(join(directory, "vmcore-header.elf"), result.dumpHeader);
  await writeFile(join(directory, "trial.json"), `${JSON.stringify(record, null, 2)}\n`);
  return directory;
}
