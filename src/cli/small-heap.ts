/** For a process that is there for months, and does little for most of that time. */
import { setFlagsFromString } from "node:v8";

/**
 * Keeps V8's space for new objects as small as it is: it would grow to 32 MiB after the first busy second, and stay so.
 * A process that makes garbage all the time has 59 MiB resident with this, and 88 without (Node 20.20); what it costs is
 * that the space is collected more often. A V8 without that flag says so on stderr, and goes on.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}
