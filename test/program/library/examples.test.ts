/** Everything in examples/ runs, and docs/library.md shows it as it is. */
import { execFile } from "node:child_process";
import { access, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeCoreHeader } from "../../../src/elfcore/decode.ts";
import { describedMemory } from "../../../src/layout/described.ts";
import { formatBytes } from "../../../src/layout/range.ts";
import { Browser } from "./browser.ts";
import { ROOT } from "./declarations.ts";

const EXAMPLES = join(ROOT, "examples");
const GOLDEN = join(ROOT, "test/elfcore/golden/kernel-5.10-plus-2-dimms.bin");
const CHROMIUM = "/usr/bin/chromium";
const run = promisify(execFile);

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function example(name: string, ...args: readonly string[]): Promise<Ended> {
  return await run(process.execPath, [join(EXAMPLES, name), ...args], { timeout: 60_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-examples-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** /proc/iomem of a machine that has what the header describes, and `more`. */
async function iomem(more: string): Promise<string> {
  const described = describedMemory(decodeCoreHeader(await readFile(GOLDEN)));
  const lines = described.ranges.map(
    ({ start, end }) => `${start.toString(16)}-${(end - 1n).toString(16)} : System RAM\n`,
  );
  const path = join(directory, "iomem");
  await writeFile(path, `${lines.join("")}${more}`);
  return path;
}

const RELOAD = 'SUBSYSTEM=="memory", ACTION=="online", RUN+="/bin/systemctl restart kdump.service"\n';
async function check(text: string): Promise<Ended> {
  const path = join(directory, "98-kexec.rules");
  await writeFile(path, text);
  return await example("check-rules.mjs", path);
}

describe("compare-with-layout.mjs", () => {
  test("finds nothing where there is nothing", async () => {
    const { code, stdout } = await example("compare-with-layout.mjs", GOLDEN, await iomem(""));
    expect(stdout).toBe("missing nothing\nstale   nothing\n");
    expect(code).toBe(0);
  });

  test("finds memory that came later", async () => {
    const more = "f0000000000-f003fffffff : System RAM\n";
    const { code, stdout } = await example("compare-with-layout.mjs", GOLDEN, await iomem(more));
    expect(stdout).toBe("missing 0xf0000000000-0xf0040000000 (1 GiB)\nstale   nothing\n");
    expect(code).toBe(1);
  });
});

test("keep-simulated.mjs follows what comes and goes", async () => {
  expect(await example("keep-simulated.mjs")).toEqual({
    code: 0,
    stderr: "",
    stdout: `installed: missing 1073741824, stale 0 bytes
installed: missing 0, stale 1073741824 bytes
installed: missing 2147483648, stale 0 bytes
a panic now gives a dump that is complete
`,
  });
});

describe("check-rules.mjs", () => {
  test("fails for rules that reload although the kernel keeps the header", async () => {
    const { code, stdout } = await check(RELOAD);
    expect(stdout.trim().split("\n")).toHaveLength(8);
    expect(code).toBe(1);
  });

  test("passes rules that leave it to the kernel", async () => {
    const { code, stdout } = await check(`ATTRS{crash_hotplug}=="1", GOTO="end"\n${RELOAD}LABEL="end"\n`);
    expect(stdout.trim().split("\n")).toHaveLength(8);
    expect(code).toBe(0);
  });
});

describe("browser/", () => {
  test("the module decodes without a page", async () => {
    const module: unknown = await import(pathToFileURL(join(EXAMPLES, "browser/decode.mjs")).href);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- plain JavaScript has no types
    const { rowsOf } = module as {
      readonly rowsOf: (bytes: Uint8Array) => { readonly rows: readonly (readonly string[])[] };
    };
    const { rows } = rowsOf(await readFile(GOLDEN));
    expect(rows[0]![0]).toBe("cpu-note");
    expect(() => rowsOf(new Uint8Array(10))).toThrow("Cannot decode the core header");
  });

  test("the page decodes a dump's header in Chromium, and asks no network for anything", async ({ skip }) => {
    const there = await access(CHROMIUM).then(
      () => true,
      () => false,
    );
    skip(!there, `${CHROMIUM} is not installed`);
    const page = join(directory, "page.html");
    await example("browser/build.mjs", page);
    await using browser = await Browser.open(CHROMIUM, join(directory, "profile"), pathToFileURL(page).href);
    await browser.choose("input", GOLDEN);
    await browser.until("document.querySelectorAll('tbody tr').length > 0");
    const header = decodeCoreHeader(await readFile(GOLDEN));
    const said = `${header.programHeaders.length} program headers describe ${formatBytes(describedMemory(header).bytes)} of memory`;
    expect(await browser.value("document.querySelector('#said').textContent")).toBe(said);
    expect(await browser.value("document.querySelectorAll('tbody tr').length")).toBe(
      header.programHeaders.length,
    );
    await browser.choose("input", join(EXAMPLES, "check-rules.mjs"));
    await browser.until("document.querySelector('#said').textContent.startsWith('Cannot decode')");
    expect(browser.troubles).toEqual([]);
  }, 60_000);
});

test("docs/library.md shows every example as it is", async () => {
  const text = await readFile(join(ROOT, "docs/library.md"), "utf8");
  const shown = new Map(
    [...text.matchAll(/^<!-- (examples\/\S+) -->\n\n```\w+\n([\s\S]*?)^```$/gm)].map(([, path, code]) => [
      path!,
      code!,
    ]),
  );
  for (const [path, code] of shown) expect(code).toBe(await readFile(join(ROOT, path), "utf8"));
  const files = (await readdir(EXAMPLES, { recursive: true })).filter(
    (name) => name.endsWith(".mjs") && name !== "browser/build.mjs",
  );
  expect([...shown.keys()].sort()).toEqual(files.map((name) => `examples/${name}`).sort());
});
