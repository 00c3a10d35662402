/** Guests whose memory only they can read: nobody outside can find the image, and what one wrote would be noise to them. */
import * as v from "valibot";

import { QmpCommandError, QmpError } from "./qmp-errors.ts";
import type { QmpSession } from "./qmp-session.ts";
import { qomList } from "./replies.ts";

/** The guest's memory is encrypted: nothing was read or written. Exit code 3. */
export class EncryptedMemoryError extends QmpError {
  override readonly name = "EncryptedMemoryError";
}

/** QOM types that make a guest confidential (qapi/qom.json, ObjectType), and the technique that each stands for. */
const TECHNIQUES: ReadonlyMap<string, string> = new Map([
  ["sev-guest", "AMD SEV"],
  ["sev-snp-guest", "AMD SEV-SNP"],
  ["tdx-guest", "Intel TDX"],
]);

const Sev = v.object({ enabled: v.boolean() });

/** @throws {EncryptedMemoryError} where QEMU says that the guest's memory is encrypted. */
export async function assertNotEncrypted(qmp: QmpSession): Promise<void> {
  const objects = await qomList(qmp, "/objects");
  const found = objects
    .map(({ name, type }) => ({ name, technique: TECHNIQUES.get(type.replace(/^child<(.*)>$/, "$1")) }))
    .find(({ technique }) => technique !== undefined);
  if (found !== undefined) throw refusal(`${found.technique}, object "${found.name}"`);
  if (await isSev(qmp)) throw refusal("AMD SEV, as query-sev says");
}

/** A QEMU without SEV, or on another processor, refuses the question. */
async function isSev(qmp: QmpSession): Promise<boolean> {
  try {
    const answer = v.safeParse(Sev, await qmp.execute("query-sev"));
    return answer.success && answer.output.enabled;
  } catch (error) {
    if (error instanceof QmpCommandError) return false;
    throw error;
  }
}

function refusal(how: string): EncryptedMemoryError {
  return new EncryptedMemoryError(
    `This guest's memory is encrypted (${how}): from outside nothing in it can be read or corrected; run "keep local" inside it`,
  );
}
