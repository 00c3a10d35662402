// What would the dump of a machine lack? Its core header (a file: a vmcore, or a copy of the header) against a copy of
// its /proc/iomem.
//
//   node compare-with-layout.mjs FILE IOMEM
import { readFile } from "node:fs/promises";
import { crashKernel, describedMemory, parseIomem, readHeaderFile, systemRam } from "kdump-hotplug";

const [file, iomem] = process.argv.slice(2);
const { header } = await readHeaderFile(file);
const entries = parseIomem(await readFile(iomem, "utf8"));

// Crash memory is the capture kernel's own: it is in no dump.
const wanted = systemRam(entries).subtract(crashKernel(entries));
const described = describedMemory(header);
const missing = wanted.subtract(described);
const stale = described.subtract(wanted);

console.log(`missing ${missing.isEmpty ? "nothing" : missing.toString()}`);
console.log(`stale   ${stale.isEmpty ? "nothing" : stale.toString()}`);
process.exitCode = missing.isEmpty && stale.isEmpty ? 0 : 1;
