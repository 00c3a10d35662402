/** promtool, Prometheus' own checker: of this machine, of the cache, or of Debian's package, unpacked and not installed. */
import { join } from "node:path";
import { openCache } from "../../src/lab/fetch/cache.ts";
import { findProgram, thisMachine } from "../../src/lab/fetch/machine.ts";
import { readOwnSources } from "../../src/lab/fetch/suites.ts";
import { Workshop } from "../../src/lab/fetch/workshop.ts";

const ENTRY = "promtool";

function quiet(): void {
  // What goes wrong is thrown.
}

/** @returns its path. @throws what says why there is none to be had. */
export async function promtool(): Promise<string> {
  const machine = thisMachine();
  const installed = await findProgram(machine, "promtool");
  if (installed !== undefined) return installed;
  const cache = await openCache(machine.cacheRoot, quiet);
  const found = await cache.read(ENTRY);
  if (found) return join(found.directory, "promtool");
  const own = await readOwnSources(machine);
  const workshop = new Workshop({ machine, cache, log: quiet, signal: AbortSignal.timeout(240_000) }, own);
  try {
    const apt = await workshop.suite(own.codename);
    const { name, version } = await apt.candidate("prometheus");
    const root = await workshop.unpack(apt, [{ name, version }]);
    const directory = await workshop.directory("promtool");
    const options = { purpose: "a copy of promtool", limitSeconds: 60 };
    // A program of Go, with no library but the C library.
    const args = [join(root, "usr/bin/promtool"), directory];
    const { code, stderr } = await machine.run("cp", ["--preserve=mode", ...args], options);
    if (code !== 0) throw new Error(`Cannot copy promtool: ${stderr.trim()}`);
    const entry = await cache.publish(ENTRY, directory, { package: name, version, facts: {} });
    return join(entry.directory, "promtool");
  } finally {
    await workshop.close();
  }
}
