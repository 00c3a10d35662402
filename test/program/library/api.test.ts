/** The library's API: its report is current, it is documented, its examples work, and its pure part is pure. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadApiReport, ROOT } from "./declarations.ts";

const run = promisify(execFile);
const { apiReport, exportsOf } = await loadApiReport();
const all = exportsOf("index.d.ts");

test("docs/api.report.md shows the API as it is: npm run api, and look at what changed", async () => {
  expect(await readFile(join(ROOT, "docs/api.report.md"), "utf8")).toBe(apiReport());
});

test("every export says what it is", () => {
  expect(all.length).toBeGreaterThan(80);
  expect(all.filter(({ comment }) => comment === "").map(({ name }) => name)).toEqual([]);
});

test("the pure entry, and all that it imports, imports nothing from Node and no package", async () => {
  const seen = new Set<string>();
  const foreign: string[] = [];
  const follow = async (path: string): Promise<void> => {
    if (seen.has(path)) return;
    seen.add(path);
    const text = await readFile(path, "utf8");
    for (const [, from = ""] of text.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)";$/gm))
      if (from.startsWith(".")) await follow(resolve(dirname(path), from));
      else foreign.push(`${relative(ROOT, path)}: ${from}`);
    // What would be loaded later, or is there under Node alone.
    const later = /\bimport\(|\brequire\(|\bprocess\.|\bBuffer\./.exec(
      text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, ""),
    );
    if (later) foreign.push(`${relative(ROOT, path)}: ${later[0]}`);
  };
  await follow(join(ROOT, "dist/pure.js"));
  expect(seen.size).toBeGreaterThan(50);
  expect(foreign).toEqual([]);
});

describe("examples in doc comments", () => {
  let directory = "";
  beforeAll(async () => {
    // Inside of the package, so that its name leads to itself.
    await mkdir(join(ROOT, ".bench"), { recursive: true });
    directory = await mkdtemp(join(ROOT, ".bench/examples-"));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  const examples = all.flatMap(({ name, comment }) =>
    [...comment.matchAll(/^ \* ```ts\n([\s\S]*?)^ \* ```$/gm)].map(([, code = ""]) => [
      name,
      code.replaceAll(/^ \* ?/gm, ""),
    ]),
  );

  test("are there", () => {
    expect(examples.length).toBeGreaterThanOrEqual(8);
  });

  test.each(examples)("%s: prints what stands beside it", async (name = "", code = "") => {
    const file = join(directory, `${name}.mjs`);
    await writeFile(file, code);
    const { stdout } = await run(process.execPath, [file]);
    const wanted = [...code.matchAll(/^console\.log\(.*\); \/\/ (.+)$/gm)].map(([, text]) => text);
    expect(wanted.length).toBeGreaterThan(0);
    expect(stdout.trimEnd().split("\n")).toEqual(wanted);
  });
});
