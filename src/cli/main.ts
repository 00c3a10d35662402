#!/usr/bin/env node
/**
 * The program's first lines, for every Node that can read them: which Node this is, is asked before anything else is
 * loaded. An older one would go on until it meets what it does not have, and then speak of that.
 */
import { nodeRefusal } from "./node-version.ts";

/** `EXIT.unknown`, without the rest of that file. */
const CANNOT_TELL = 3;

const refusal: string | undefined = nodeRefusal(process.versions.node);
if (refusal === undefined) {
  await import("./process.ts");
} else {
  process.stderr.write(`${refusal}\n`);
  process.exitCode = CANNOT_TELL;
}
