// Writes what is made from the command tree: dist/man/*.1 and dist/completions/. `npm run build` runs it, of the built
// program. The date on the pages is the commit's, or SOURCE_DATE_EPOCH's, so that the same sources give the same bytes.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const { buildProgram } = await import(join(DIST, "cli/program.js"));
const { shapeOf } = await import(join(DIST, "cli/tree.js"));
const { manualPages } = await import(join(DIST, "report/manual/page.js"));
const { bashCompletion } = await import(join(DIST, "report/completion/bash.js"));
const { zshCompletion } = await import(join(DIST, "report/completion/zsh.js"));
const { fishCompletion } = await import(join(DIST, "report/completion/fish.js"));

const { version, time = 0 } = JSON.parse(readFileSync(join(DIST, "build.json"), "utf8"));
const date = new Date(Number(process.env["SOURCE_DATE_EPOCH"] ?? time) * 1000).toISOString().slice(0, 10);
const silent = { print: () => {}, say: () => {}, signal: new AbortController().signal };
const root = shapeOf(await buildProgram(silent, version, () => {}));

function write(directory, files) {
  const path = join(DIST, directory);
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  for (const [name, text] of files) writeFileSync(join(path, name), text);
}

write("man", manualPages(root, { version, date }));
write("completions", [
  ["kdump-hotplug.bash", bashCompletion(root)],
  ["_kdump-hotplug", zshCompletion(root)],
  ["kdump-hotplug.fish", fishCompletion(root)],
]);
