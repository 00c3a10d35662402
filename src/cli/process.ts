/** The process: signals, streams, exit code. */
import { readBuildInfo, versionText } from "./build-info.ts";
import { Interrupted } from "./context.ts";
import { run } from "./run.ts";
import { Terminal } from "./terminal.ts";

/** How long output may take to be read after that, ms. */
const LEFTOVERS_MS = 500;

const controller = new AbortController();
let onHangup: (() => void) | undefined;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    if (name === "SIGHUP" && onHangup) onHangup();
    // Every further signal is answered by what the first one started: a guest must not be left paused.
    else controller.abort(new Interrupted(`Interrupted by ${name}`));
  });
}
// A reader that closes the pipe (head) is no reason to leave a guest in the middle.
process.stdout.on("error", () => undefined);

const terminal = process.stderr.isTTY ? new Terminal(process.stderr) : undefined;
const build = await readBuildInfo();
process.exitCode = await run(
  process.argv.slice(2),
  {
    print: (text) => {
      terminal?.before();
      process.stdout.write(text);
    },
    say: terminal?.say ?? ((line) => process.stderr.write(`${line}\n`)),
    progress: terminal?.progress,
    signal: controller.signal,
    onHangup: (again) => {
      onHangup = again;
      return { [Symbol.dispose]: () => (onHangup = undefined) };
    },
  },
  build.version,
  versionText(build),
);
// Who was interrupted has done all that has to be done: what still waits for an answer is not waited for.
if (controller.signal.aborted) setTimeout(() => process.exit(), LEFTOVERS_MS).unref();
