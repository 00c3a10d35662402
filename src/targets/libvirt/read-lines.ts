/** Lines of what virsh prints, one by one. */
import type { Readable } from "node:stream";
import { LineParser } from "../qemu/line-parser.ts";

/** Calls `take` for each line of `stream`, and `broken` with what goes wrong in reading or taking one. */
export function readLines(
  stream: Readable,
  take: (line: string) => void,
  broken: (error: unknown) => void,
): void {
  const lines = new LineParser();
  stream.on("data", (bytes: Uint8Array) => {
    try {
      lines.append(bytes);
      for (let line = lines.tryRead(); line !== undefined; line = lines.tryRead()) take(line);
    } catch (error) {
      broken(error);
    }
  });
  stream.on("error", () => undefined);
}
