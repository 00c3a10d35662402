/** Whether rules can tell one memory block from another: thousands of blocks then need to be evaluated only once. */
import type { RuleSet } from "./evaluate.ts";

/**
 * Keys and substitutions that depend on which block it is, or on what earlier events left behind. More than needed does
 * no harm, less would: what is not known here must not be taken for harmless, so only these stay out of the list:
 * ACTION, SUBSYSTEM, ATTR and ATTRS of what all blocks share, ENV, CONST, PROGRAM, RESULT, TEST of what all have, RUN.
 */
const TELLS_APART =
  /^(?:KERNEL|DEVPATH|NAME|SYMLINK|TAGS?|DRIVERS?|IMPORT|SYSCTL|OPTIONS|OWNER|GROUP|MODE|SECLABEL)|phys_index|valid_zones|phys_device|DEVPATH|SEQNUM|%[knpbNMmDLP]|\$(?:kernel|number|devpath|id|devnode|name|links|major|minor|parent|tempnode)/;

/** @returns true where every memory block in the same state gives the same outcome, but for paths with its name. */
export function blocksAreAlike({ files }: RuleSet): boolean {
  return !files.some(({ lines }) =>
    lines.some(({ tokens }) => tokens.some(({ text }) => TELLS_APART.test(text))),
  );
}
