// For a distribution's CI: does a change of the kdump rules bring back a reload on each memory block, on kernels that
// keep the header themselves?
//
//   node check-rules.mjs FILE.rules...
import { readFile } from "node:fs/promises";
import { describeEffect, effectOf, parseEventSpec, RuleSet } from "kdump-hotplug";

const files = process.argv.slice(2);
const sources = await Promise.all(files.map(async (path) => ({ path, text: await readFile(path, "utf8") })));
const rules = RuleSet.parse(sources);

let reloads = 0;
for (const crashHotplug of ["absent", "1"]) {
  for (const event of ["add:memory40", "online:memory40", "offline:memory40", "add:cpu3"]) {
    const effect = effectOf(rules, parseEventSpec(event), { crashHotplug });
    console.log(`${event}, crash_hotplug ${crashHotplug}: ${describeEffect(effect)[0]}`);
    if (crashHotplug === "1" && effect.kind.endsWith("reload")) reloads++;
  }
}
for (const { diagnostics } of rules.files)
  for (const { path, line, message } of diagnostics) console.error(`${path}:${line}: ${message}`);
process.exitCode = reloads > 0 ? 1 : 0;
