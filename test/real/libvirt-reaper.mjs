// Ends everything of a private libvirt, when its input ends: on purpose, or because the test's process has died.
// Arguments: the daemon's process number, the directory that is all its own.
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const [daemon, directory] = process.argv.slice(2);

/** A process of that number, if it is one of this libvirt's: its command line, or its environment, names the directory. */
function isOurs(pid) {
  try {
    return ["cmdline", "environ"].some((file) =>
      readFileSync(`/proc/${pid}/${file}`, "latin1").includes(directory),
    );
  } catch {
    return false;
  }
}

function guests() {
  const state = join(directory, "run/libvirt/qemu/run");
  if (!existsSync(state)) return [];
  const files = readdirSync(state).filter((name) => name.endsWith(".pid") && name !== "driver.pid");
  return files.map((name) => readFileSync(join(state, name), "latin1").trim());
}

async function end(pid) {
  if (!isOurs(pid)) return;
  process.kill(Number(pid), "SIGKILL");
  while (isOurs(pid)) await delay(20);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
process.stdin.resume().on("end", async () => {
  // The daemon first: it would start nothing then, and write no file more.
  await end(daemon);
  for (const pid of guests()) await end(pid);
  rmSync(directory, { recursive: true, force: true });
});
