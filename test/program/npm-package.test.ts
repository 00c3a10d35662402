/** What `npm pack` gives: what is in it, and that it works where nothing else is, as a program and as a library. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

let directory = "";
let tarball = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-npm-"));
  const { stdout } = await run(
    "npm",
    ["pack", "--ignore-scripts", "--silent", "--pack-destination", directory],
    { cwd: SOURCE },
  );
  tarball = join(directory, stdout.trim().split("\n").at(-1)!);
}, 120_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

test("has the program, the library, pages, completions, documents and examples, and nothing else", async () => {
  const { stdout } = await run("tar", ["-tzf", tarball]);
  const paths = stdout
    .trim()
    .split("\n")
    .map((path) => path.replace(/^package\//, ""));
  for (const path of [
    "package.json",
    "README.md",
    "LICENSE",
    "dist/build.json",
    "dist/cli/main.js",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/pure.js",
    "dist/pure.d.ts",
    "dist/man/kdump-hotplug.1",
    "dist/completions/kdump-hotplug.bash",
    "docs/library.md",
    "examples/keep-simulated.mjs",
  ])
    expect(paths).toContain(path);
  const known =
    /^(?:package\.json|README\.md|LICENSE|dist\/.+(?<!\.map)|docs\/[^/]+\.md|docs\/(?:decisions|reference)\/[^/]+\.md|examples\/.+)$/;
  expect(paths.filter((path) => !known.test(path))).toEqual([]);
});

describe("installed into an empty directory", () => {
  let place = "";
  beforeAll(async () => {
    place = join(directory, "place");
    await mkdir(place);
    await writeFile(join(place, "package.json"), '{ "type": "module", "private": true }\n');
    await run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", tarball], { cwd: place });
  }, 180_000);

  test("it is the program", async () => {
    const program = join(place, "node_modules/.bin/kdump-hotplug");
    const own = await run(process.execPath, [join(SOURCE, "dist/cli/main.js"), "--version"]);
    expect((await run(program, ["--version"], { cwd: place })).stdout).toBe(own.stdout);
    expect((await run(program, ["audit", "sim:6.1"], { cwd: place })).stdout).toContain("accurate");
  });

  test("it is the library, and only what is exported can be had", async () => {
    const script = `
      import { decodeCoreHeader } from "kdump-hotplug/pure";
      import { auditMachine, nodeSha256, parseSpec, SimulatedTarget } from "kdump-hotplug";
      const machine = SimulatedTarget.open("sim:6.1", parseSpec("6.1"), nodeSha256);
      console.log(typeof decodeCoreHeader, (await auditMachine(machine, nodeSha256)).verdict);
      await import("kdump-hotplug/dist/cli/run.js").catch((error) => console.log(error.code));
    `;
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], { cwd: place });
    expect(stdout).toBe("function accurate\nERR_PACKAGE_PATH_NOT_EXPORTED\n");
  });

  test("a strict compiler takes its types, without Node's for the pure part", async () => {
    await writeFile(
      join(place, "pure.ts"),
      `import { decodeCoreHeader, type ProgramHeader, RangeSet } from "kdump-hotplug/pure";
export const first: ProgramHeader | undefined = decodeCoreHeader(new Uint8Array()).programHeaders[0];
export const bytes: bigint = RangeSet.empty.bytes;
// @ts-expect-error -- no number
export const wrong: number = RangeSet.empty.bytes;
`,
    );
    const tsc = join(SOURCE, "node_modules/.bin/tsc");
    const options = [
      "--strict",
      "--noEmit",
      "--module",
      "nodenext",
      "--target",
      "es2022",
      "--lib",
      "es2023,dom,esnext.disposable",
      "--types",
      "",
    ];
    const { stdout } = await run(tsc, [...options, "pure.ts"], { cwd: place }).catch(
      (error: { readonly stdout: string }) => error,
    );
    expect(stdout).toBe("");
  }, 60_000);

  test("its manifest names no registry and runs nothing when it is installed", async () => {
    const text = await readFile(join(place, "node_modules/kdump-hotplug/package.json"), "utf8");
    expect(text).not.toMatch(/publishConfig|registry|"(?:pre|post)?install"|"prepare"/);
  });
});
