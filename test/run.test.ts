/** The runner behind `make test`: what it skips, what it calls a failure, where it stops. */
import { spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const RUNNER = fileURLToPath(new URL("run.mjs", import.meta.url));
const LACKING = "The lab lacks:\n  qemu: there is no apt-get in PATH (by hand: --qemu FILE)\n";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-runner-"));
  for (const folder of ["bin", "dist/cli"]) await mkdir(join(directory, folder), { recursive: true });
  // Whatever package.json lies above: these programs are CommonJS.
  await writeFile(join(directory, "package.json"), "{}");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly last: string;
  readonly text: string;
  /** Which programs were started, in order. */
  readonly steps: readonly string[];
}

function report(skipped: number): string {
  return JSON.stringify({ numPassedTests: 3, numFailedTests: 0, numPendingTests: skipped });
}

/** Runs it with programs of the test's own in place of npm, npx and `lab fetch`. */
async function ended(
  fetch: { readonly code: number; readonly says?: string },
  options: {
    readonly skippedReal?: number;
    /** The report of the tests on real kernels, where it is not the usual one. */
    readonly real?: string;
    readonly interruptIn?: string;
    readonly chromium?: string;
  } = {},
): Promise<Ended> {
  const log = join(directory, "log");
  const program = async (name: string, source: string): Promise<void> => {
    await writeFile(join(directory, "bin", name), source);
    await chmod(join(directory, "bin", name), 0o755);
  };
  // Not Node: fifty programs are started here, and it takes longer to start than a shell for all that they do.
  const stub = `#!/bin/sh
    echo "$*" >>'${log}'
    case " $* " in *' ${options.interruptIn ?? "never"} '*)
      kill -INT $PPID
      exec '${process.execPath}' -e 'setTimeout(() => {}, 5000)';;
    esac`;
  await program("npm", stub);
  await program(
    "npx",
    `${stub}
    for file; do :; done
    case "$file" in
      *real.json) printf %s '${options.real ?? report(options.skippedReal ?? 0)}' >"\${file#*=}";;
      *) printf %s '${report(0)}' >"\${file#*=}";;
    esac`,
  );
  await writeFile(
    join(directory, "dist/cli/main.js"),
    `require("fs").appendFileSync(${JSON.stringify(log)}, process.argv.slice(2).join(" ") + "\\n");
    process.stderr.write(${JSON.stringify(fetch.says ?? "")}); process.exit(${fetch.code});`,
  );
  const child = spawn(process.execPath, [RUNNER], {
    cwd: directory,
    env: {
      ...process.env,
      PATH: join(directory, "bin"),
      KDUMP_HOTPLUG_CHROMIUM: options.chromium ?? process.execPath,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes: Buffer) => (text += bytes.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const steps = (await readFile(log, "utf8")).trim().split("\n");
  return { code, text, last: text.trim().split("\n").at(-1)!, steps };
}

describe("the tests' runner", () => {
  it("runs everything where the lab has what it needs", async () => {
    expect(await ended({ code: 0 })).toMatchObject({ code: 0, last: "15 passed, 0 failed" });
  });

  it("skips reports in a browser where there is none and none can be had, and says what is missing", async () => {
    const chromium = join(directory, "no-chromium");
    const { code, text, last, steps } = await ended({ code: 0 }, { chromium });
    expect({ code, last }).toEqual({ code: 0, last: "12 passed, 0 failed, 1 skipped" });
    expect(text).toContain(
      `Skipped: all tests of reports in a browser. ${chromium} is missing: apt-get install chromium`,
    );
    expect(steps.join("\n")).not.toContain("--project browser");
  });

  it("skips the real kernels where supplies are missing, and repeats which", async () => {
    const { code, text, last } = await ended({ code: 2, says: LACKING });
    expect(code).toBe(0);
    expect(last).toBe("9 passed, 0 failed, 1 skipped");
    expect(text).toContain(`Skipped: all tests on real kernels. ${LACKING.trimEnd()}\n`);
  });

  it.each([
    ["lab fetch fails", { code: 3, says: "EACCES" }],
    ["lab fetch does not know its own options", { code: 2, says: "error: unknown option" }],
  ])("fails where %s", async (_what, fetch) => {
    const { code, text, last } = await ended(fetch);
    expect({ code, last }).toEqual({ code: 1, last: "9 passed, 1 failed" });
    expect(text).toContain(`Failed: lab fetch ended with status ${fetch.code}: ${fetch.says}`);
  });

  it("fails where real tests vanish although nothing is missing", async () => {
    const { code, text, last } = await ended({ code: 0 }, { skippedReal: 2 });
    expect({ code, last }).toEqual({ code: 1, last: "15 passed, 1 failed, 2 skipped" });
    expect(text).toContain("Failed: 2 tests of real were skipped");
  });

  it("names each test that failed and what it said, at the end, where a long log is read", async () => {
    const assertionResults = [
      { status: "passed", fullName: "boots", failureMessages: [] },
      { status: "failed", fullName: "panics on 6.1", failureMessages: ["Error: no dump\n    at dump.ts:3"] },
    ];
    const testResults = [{ name: join(directory, "test/real/dump.test.ts"), assertionResults }];
    const real = JSON.stringify({ numPassedTests: 1, numFailedTests: 1, numPendingTests: 0, testResults });
    const { code, text, last } = await ended({ code: 0 }, { real });
    expect({ code, last }).toEqual({ code: 1, last: "13 passed, 1 failed" });
    expect(text).toMatch(
      /Failed: test\/real\/dump\.test\.ts: panics on 6\.1\n {2}Error: no dump\n.*\n\n13 passed/,
    );
    expect(text).not.toContain("Failed: test/real/dump.test.ts: boots");
  });

  it.each([
    ["typecheck", []],
    ["unit", ["unit"]],
  ])("begins nothing more after Ctrl-C in %s", async (step, projects) => {
    const { code, text, steps } = await ended({ code: 0 }, { interruptIn: step });
    expect(code).toBe(130);
    expect(text).toContain("Stopped by SIGINT");
    expect(steps.some((each) => each.includes(step))).toBe(true);
    // What ran beside it had begun before.
    expect(steps.flatMap((each) => /vitest run --project (\S+)/.exec(each)?.[1] ?? [])).toEqual(projects);
  });
});
