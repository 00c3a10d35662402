// Everything that `make test` runs, in order: the checks, the tests without QEMU, reports in a browser, the tests on real
// kernels.
// Plain JavaScript, because it runs before anything else is known to work.
// Closes with one line per thing that was skipped and why, and with `N passed, N failed`.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative } from "node:path";

const counts = { passed: 0, failed: 0, skipped: 0 };
const notes = [];
const work = mkdtempSync(join(tmpdir(), "kdump-hotplug-test-"));
/** Those that run, each with what it has said so far where that is not passed on. */
const children = new Set();
/** The signal that ended it all: no further step is begun. */
const stop = { signal: "" };
for (const name of ["SIGINT", "SIGTERM"]) {
  process.on(name, () => {
    stop.signal ||= name;
    for (const child of children) child.kill(name);
  });
}

/**
 * Runs a command to its end; its exit status, and what it said on stderr. Its output is passed on, or, where it runs
 * beside others (`apart`), when it has ended.
 */
async function run(command, args, { env = {}, apart = false } = {}) {
  if (stop.signal) return { status: 128, said: "" };
  const title = `\n$ ${command} ${args.join(" ")}`;
  if (!apart) console.log(title);
  const started = performance.now();
  const child = spawn(command, args, {
    stdio: ["ignore", apart ? "pipe" : "inherit", "pipe"],
    env: { ...process.env, ...env },
  });
  children.add(child);
  let said = "";
  let kept = "";
  child.stdout?.on("data", (bytes) => (kept += bytes.toString()));
  child.stderr.on("data", (bytes) => {
    if (apart) kept += bytes.toString();
    else process.stderr.write(bytes);
    said = (said + bytes.toString()).slice(-10_000);
  });
  const status = await new Promise((resolve) => {
    child.on("error", () => resolve(127));
    child.on("close", (code, signal) => resolve(signal ? 128 : code));
  });
  children.delete(child);
  if (apart) console.log(`${title}\n${kept.trimEnd()}`);
  console.log(`(${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return { status, said };
}

function count(ok, what) {
  if (stop.signal) return;
  counts[ok ? "passed" : "failed"]++;
  if (!ok) notes.push(`Failed: ${what}`);
}

/** One note per test that failed, with the beginning of what it said: at the end of a long log, where it is looked for. */
function failures(report) {
  return (report.testResults ?? []).flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === "failed")
      .map(({ fullName, failureMessages }) => {
        const said = failureMessages.join("\n").split("\n").slice(0, 30).join("\n  ");
        return `Failed: ${relative(process.cwd(), name)}: ${fullName}\n  ${said}`;
      }),
  );
}

/** Runs vitest projects together and adds their counts; those that report nothing, or skip anything, have failed. */
async function vitest(projects, env, ...more) {
  if (stop.signal) return;
  const project = projects.join(" and ");
  const file = join(work, `${projects.join("-")}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const chosen = projects.flatMap((name) => ["--project", name]);
  const args = ["--no-install", "vitest", "run", ...chosen, ...more, ...reporters];
  const { status } = await run("npx", args, { env });
  let report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    count(false, `${project} tests: vitest gave no report`);
    return;
  }
  counts.passed += report.numPassedTests;
  counts.failed += report.numFailedTests;
  notes.push(...failures(report));
  const skipped = report.numPendingTests;
  counts.skipped += skipped;
  if (project.startsWith("real") && skipped > 0) {
    count(false, `${skipped} tests of ${project} were skipped although the lab has all that it needs`);
  } else if (skipped > 0) {
    notes.push(`Skipped: ${skipped} tests of ${project}, see above for why`);
  }
  if (status !== 0 && report.numFailedTests === 0)
    count(false, `${project} tests: vitest ended with status ${status}`);
}

const checks = ["typecheck", "lint", "format:check"].map(async (check) => {
  count((await run("npm", ["run", "--silent", check], { apart: true })).status === 0, `npm run ${check}`);
});
await Promise.all(checks);

// Pages are looked at in Debian's Chromium, man pages and completion by those who read them: a machine that cannot have
// one skips that, and says why.
const CHROMIUM = process.env.KDUMP_HOTPLUG_CHROMIUM ?? "/usr/bin/chromium";
const WANTED = {
  [CHROMIUM]: "chromium",
  "/usr/bin/mandoc": "mandoc",
  "/usr/bin/man": "man-db",
  "/usr/bin/zsh": "zsh",
  "/usr/bin/fish": "fish",
};
const missing = Object.entries(WANTED).flatMap(([path, name]) => (existsSync(path) ? [] : [name]));
if (missing.length > 0 && process.getuid?.() === 0) {
  const args = ["install", "--yes", "--no-install-recommends", ...missing];
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const installed = await run("apt-get", args, { env });
  // A list of packages that is too old names versions that are gone.
  if (installed.status !== 0 && (await run("apt-get", ["update"])).status === 0)
    await run("apt-get", args, { env });
}

// The supplies of the lab come over the network and are unpacked while the tests without QEMU run.
const fetching = run(process.execPath, ["dist/cli/main.js", "lab", "fetch"], { apart: true });

// Together: many of these wait for a clock or for a process, and another file has the processor meanwhile.
await vitest(["unit", "program"], {}, `--maxWorkers=${availableParallelism() + 1}`);
if (existsSync(CHROMIUM)) {
  await vitest(["browser"], {});
} else if (!stop.signal) {
  notes.push(
    `Skipped: all tests of reports in a browser. ${CHROMIUM} is missing: apt-get install chromium${process.getuid?.() === 0 ? " did not succeed, see above" : " (as root)"}`,
  );
  counts.skipped++;
}

// The supplies of the lab: a machine that cannot have them skips the real kernels, and says which are missing.
const fetched = await fetching;
const lacking = /^The lab lacks:\n(?: .*\n?)+/m.exec(fetched.said)?.[0].trimEnd();
if (stop.signal) {
  notes.push(`Stopped by ${stop.signal}: what came after it was not run`);
} else if (fetched.status === 0) {
  const env = { KDUMP_HOTPLUG_LAB: "required" };
  // A guest that boots keeps one core busy: two files at a time take little more than half of the time.
  await vitest(["real"], env, `--maxWorkers=${Math.min(2, availableParallelism())}`);
  await vitest(["real-alone"], env);
  if (stop.signal) notes.push(`Stopped by ${stop.signal}`);
} else if (fetched.status === 2 && lacking !== undefined) {
  notes.push(`Skipped: all tests on real kernels. ${lacking}`);
  counts.skipped++;
} else {
  count(false, `lab fetch ended with status ${fetched.status}: ${fetched.said.trim()}`);
}
rmSync(work, { recursive: true, force: true });

console.log(`\n${notes.map((note) => `${note}\n`).join("")}`);
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
process.exitCode = stop.signal ? 130 : counts.failed > 0 || counts.passed === 0 ? 1 : 0;
