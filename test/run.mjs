// Everything that `make test` runs, in order: the checks, the tests without QEMU, the tests on real kernels.
// Plain JavaScript, because it runs before anything else is known to work.
// Closes with one line per thing that was skipped and why, and with `N passed, N failed`.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const counts = { passed: 0, failed: 0, skipped: 0 };
const notes = [];
const work = mkdtempSync(join(tmpdir(), "kdump-hotplug-test-"));
let current;
for (const name of ["SIGINT", "SIGTERM"]) {
  process.on(name, () => {
    if (current?.pid !== undefined) process.kill(current.pid, name);
    notes.push(`Stopped by ${name}`);
  });
}

/** Runs a command to its end with its output passed on; its exit status. */
async function run(command, args) {
  console.log(`\n$ ${command} ${args.join(" ")}`);
  const started = performance.now();
  current = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  const status = await new Promise((resolve) => {
    current.on("error", () => resolve(127));
    current.on("exit", (code, signal) => resolve(signal ? 128 : code));
  });
  console.log(`(${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return status;
}

function count(ok, what) {
  counts[ok ? "passed" : "failed"]++;
  if (!ok) notes.push(`Failed: ${what}`);
}

/** Runs a vitest project and adds its counts; a project that reports nothing has failed. */
async function vitest(project) {
  const file = join(work, `${project}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const status = await run("npx", ["--no-install", "vitest", "run", "--project", project, ...reporters]);
  try {
    const report = JSON.parse(readFileSync(file, "utf8"));
    counts.passed += report.numPassedTests;
    counts.failed += report.numFailedTests;
    counts.skipped += report.numPendingTests;
    if (report.numPendingTests > 0)
      notes.push(`Skipped: ${report.numPendingTests} tests of ${project}, see above for why`);
    if (status !== 0 && report.numFailedTests === 0)
      count(false, `${project} tests: vitest ended with status ${status}`);
  } catch {
    count(false, `${project} tests: vitest gave no report`);
  }
}

for (const check of ["typecheck", "lint", "format:check"]) {
  count((await run("npm", ["run", "--silent", check])) === 0, `npm run ${check}`);
}
await vitest("unit");

// The supplies of the lab: a machine that cannot have them skips the real kernels, and says so.
const supplied = await run(process.execPath, ["dist/cli/main.js", "lab", "fetch"]);
if (supplied === 0) {
  await vitest("real");
} else {
  notes.push(
    "Skipped: all tests on real kernels, because the lab could not be supplied (the message is above)",
  );
  counts.skipped++;
}
rmSync(work, { recursive: true, force: true });

console.log(`\n${notes.map((note) => `${note}\n`).join("")}`);
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
