/** Every reader that the fuzzer knows. */
import type { FuzzedReader } from "../reader.ts";
import { BYTE_READERS } from "./bytes.ts";
import { FILE_READERS } from "./file.ts";
import { FORGED_GUESTS } from "./forged-guest.ts";
import { LOCAL_READERS } from "./local.ts";
import { SESSION_READERS } from "./sessions.ts";
import { TEXT_READERS } from "./text.ts";
import { VIRSH_READERS } from "./virsh.ts";

export const READERS: readonly FuzzedReader[] = [
  ...BYTE_READERS,
  ...TEXT_READERS,
  ...FORGED_GUESTS,
  ...SESSION_READERS,
  ...FILE_READERS,
  ...LOCAL_READERS,
  ...VIRSH_READERS,
];
