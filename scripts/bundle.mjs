// Makes kdump-hotplug.mjs, the whole program in one file that needs only Node: `node scripts/bundle.mjs [FILE]`.
// The built program is its source; koffi, which is native code, is left out, and the local target says so.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** With this as its first argument the file is the process that watches over pauses (src/targets/qemu/pause-watcher.ts). */
const WATCHER_WORD = "--watch-over-pauses";

/** What runs: the one or the other, so that the watcher does not load the program. */
const ENTRY = `
if (process.argv[2] === ${JSON.stringify(WATCHER_WORD)}) await import("./dist/targets/qemu/pause-watcher-main.js");
else await import("./dist/cli/main.js");
`;

/** Puts what the one file knows of itself in the place of dist/bundle.js. */
function ownKnowledge(info) {
  return {
    name: "own-knowledge",
    setup(builder) {
      builder.onLoad({ filter: /\/dist\/bundle\.js$/ }, () => ({
        contents: `export const BUNDLE = ${JSON.stringify({ build: info, pauseWatcherWord: WATCHER_WORD })};`,
      }));
    },
  };
}

/** Licences of the packages that are inside: their texts want to be where the code is. */
function licences(inputs) {
  const packages = new Set(
    inputs.flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
  );
  return [...packages]
    .sort((a, b) => (a < b ? -1 : 1))
    .map((directory) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(ROOT, directory, "package.json"), "utf8"),
      );
      const file = readdirSync(join(ROOT, directory)).find((each) => /^licen[cs]e/i.test(each));
      const text = file === undefined ? "" : readFileSync(join(ROOT, directory, file), "utf8").trim();
      return `${name} ${version} (${license})\n\n${text}\n`;
    });
}

/** @returns the file's size in bytes. */
export async function bundle(file) {
  const info = JSON.parse(readFileSync(join(ROOT, "dist/build.json"), "utf8"));
  const { outputFiles, metafile } = await build({
    stdin: { contents: ENTRY, resolveDir: ROOT, sourcefile: "entry.js" },
    absWorkingDir: ROOT,
    bundle: true,
    platform: "node",
    target: "node20.19",
    format: "esm",
    outfile: "kdump-hotplug.mjs",
    // Names stay: a stack in a bug report says where it was.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    external: ["koffi"],
    plugins: [ownKnowledge(info)],
    // Packages in CommonJS ask for Node's modules by require.
    banner: {
      js: '#!/usr/bin/env node\nimport { createRequire as createRequireOfNode } from "node:module";\nconst require = createRequireOfNode(import.meta.url);',
    },
    metafile: true,
    write: false,
  });
  const inside = licences(Object.keys(metafile.inputs));
  const text = `${outputFiles[0].text}/*\nkdump-hotplug ${info.version} (GPL-2.0-or-later). Inside of it are these packages:\n\n${inside.join("\n").replaceAll("*/", "* /")}*/\n`;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return Buffer.byteLength(text);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (!existsSync(join(ROOT, "dist/build.json"))) {
    console.error("There is no dist/: run npm run build first");
    process.exitCode = 2;
  } else {
    const file = resolve(process.argv[2] ?? join(ROOT, "kdump-hotplug.mjs"));
    console.log(`${file}: ${await bundle(file)} bytes`);
  }
}
