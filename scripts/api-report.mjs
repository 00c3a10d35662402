// Writes docs/api.report.md: every export of the library with its signature, from the declarations that the compiler
// emits into dist/. A change of the API is a change of that file, which a test compares. `--check` writes nothing and
// ends with 1 where it is out of date.
//
// TypeScript 7 has no API for programs; but what it emits is regular: a declaration begins at the first column, and all
// that belongs to it is indented or closes it.
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const REPORT = join(ROOT, "docs/api.report.md");

/** A declaration file's top-level statements, each with the comment before it. */
function statements(text) {
  const found = [];
  let comment = "";
  let lines = [];
  const end = () => {
    if (lines.length === 0) return;
    found.push({ comment, text: lines.join("\n") });
    comment = "";
    lines = [];
  };
  let inComment = false;
  let isInside = false;
  for (const line of text.split("\n")) {
    if (inComment || line.startsWith("/**")) {
      if (!inComment) {
        // In a union the comments of its parts begin at the first column too.
        isInside = lines.length > 0 && !isWhole(lines);
        if (!isInside) {
          end();
          comment = "";
        }
      }
      if (!isInside) comment += `${line}\n`;
      inComment = !line.includes("*/");
      continue;
    }
    if (line === "" || line.startsWith("//")) continue;
    if (/^(?:export|import|declare|type|interface|class|const|function)\b/.test(line)) end();
    lines.push(line);
  }
  end();
  return found;
}

/** Whether a statement has come to its end: what has a body ends with it, all others with a semicolon. */
function isWhole(lines) {
  const hasBody = /^(?:export )?(?:declare )?(?:abstract )?(?:interface|class) /.test(lines[0]);
  return lines.at(-1).endsWith(hasBody ? "}" : ";");
}

function withoutComments(text) {
  return text
    .replaceAll(/^[ \t]*\/\*\*[\s\S]*?\*\/\n/gm, "")
    .replaceAll(/\/\*\*[\s\S]*?\*\/ ?/g, "")
    .split("\n")
    .filter((line) => !/^\s*(?:#?private;|#private;)$/.test(line) && !/^\s*private /.test(line))
    .join("\n");
}

const cache = new Map();
/** What a declaration file declares, imports and hands on. */
function moduleAt(path) {
  const known = cache.get(path);
  if (known) return known;
  const declared = new Map();
  const imported = new Map();
  const exports = [];
  for (const { comment, text } of statements(readFileSync(path, "utf8"))) {
    const from = /from "(.+?)";$/.exec(text)?.[1];
    const names = /\{([\s\S]*)\}/.exec(text)?.[1] ?? "";
    const list = names
      .split(",")
      .map((name) => name.trim().replace(/^type /, ""))
      .filter((name) => name !== "");
    const target = from?.startsWith(".")
      ? resolve(
          dirname(path),
          from
            .replace(/\.js$/, ".d.ts")
            .replace(/\.ts$/, (end, at, all) => (all.endsWith(".d.ts") ? end : ".d.ts")),
        )
      : from;
    if (from !== undefined && text.startsWith("import")) for (const name of list) imported.set(name, target);
    else if (from !== undefined && text.startsWith("export *")) exports.push({ all: target });
    else if (from !== undefined) for (const name of list) exports.push({ name, target });
    else {
      const name =
        /^(?:export )?(?:declare )?(?:abstract )?(?:function|class|interface|type|const) (\w+)/.exec(
          text,
        )?.[1];
      if (name === undefined) continue;
      const before = declared.get(name);
      declared.set(name, {
        comment: before?.comment ?? comment,
        text: before ? `${before.text}\n${withoutComments(text)}` : withoutComments(text),
      });
    }
  }
  const module = { declared, imported, exports };
  cache.set(path, module);
  return module;
}

/** Everything that an entry exports: name, declaration, and the file that has it. */
export function exportsOf(entry) {
  const path = join(DIST, entry);
  return moduleAt(path)
    .exports.flatMap(({ name, target, all }) => {
      if (all !== undefined) return exportsOf(relative(DIST, all));
      const declaration = moduleAt(target).declared.get(name);
      if (declaration === undefined)
        throw new Error(`${entry} exports ${name}, which ${target} does not declare`);
      return [{ name, path: target, ...declaration }];
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Names of ours that exported declarations mention, and that nobody can import: users see their values, not their names. */
function unnamed(exported) {
  const names = new Set(exported.map(({ name }) => name));
  const mentioned = new Set();
  for (const { path, text } of exported) {
    const { imported, declared } = moduleAt(path);
    for (const word of text.match(/\b[A-Z]\w+/g) ?? [])
      if (!names.has(word) && (declared.has(word) || String(imported.get(word) ?? "").startsWith("/")))
        mentioned.add(word);
  }
  return [...mentioned].sort((a, b) => (a < b ? -1 : 1));
}

function section(title, exported) {
  const list = exported.map(
    ({ path, text }) => `\`\`\`ts\n// ${relative(DIST, path).replace(/\.d\.ts$/, ".ts")}\n${text}\n\`\`\`\n`,
  );
  return `## ${title}\n\n${exported.length} exports.\n\n${list.join("\n")}`;
}

/** The report's text. */
export function apiReport() {
  const pure = exportsOf("pure.d.ts");
  const names = new Set(pure.map(({ name }) => name));
  const rest = exportsOf("index.d.ts").filter(({ name }) => !names.has(name));
  const hidden = unnamed([...pure, ...rest]);
  return `# The library's API

Made by \`npm run api\` from the declarations that are built; a test fails where this file is out of date. What it does: [library.md](library.md).

${section("`kdump-hotplug/pure`, and part of `kdump-hotplug`", pure)}
${section("`kdump-hotplug` only, which needs Node", rest)}
## Mentioned, but not exported

These are types of values that the API gives and takes; their names cannot be imported, and may change.

${hidden.map((name) => `\`${name}\``).join(", ")}
`;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const report = apiReport();
  if (!process.argv.includes("--check")) writeFileSync(REPORT, report);
  else if (readFileSync(REPORT, "utf8") !== report) {
    console.error(
      "docs/api.report.md is out of date: run npm run build && npm run api, and look at what changed",
    );
    process.exitCode = 1;
  }
}
