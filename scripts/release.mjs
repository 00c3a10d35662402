// Makes everything that is handed out, from a clean checkout, into one directory: `make release`, or
// `node scripts/release.mjs [DIRECTORY]` (default: release/). The same commit gives the same bytes; `--check` proves it:
// it builds twice, in clones with other paths, times, umask, time zone and locale, and compares.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const NAME = "kdump-hotplug";

/** Ends with a sentence instead of a stack. */
class ReleaseError extends Error {}

function byName(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Runs a program with its output passed on to stderr: stdout has the result alone. */
function run(program, args, options = {}) {
  console.error(`$ ${program} ${args.join(" ")}`);
  execFileSync(program, args, { stdio: ["ignore", process.stderr, "inherit"], cwd: ROOT, ...options });
}

function output(program, args, options = {}) {
  return execFileSync(program, args, {
    encoding: "utf8",
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
    ...options,
  });
}

function isThere(program) {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Every file below a directory, sorted. */
function filesBelow(directory, below = "") {
  return readdirSync(join(directory, below), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return entry.isDirectory() ? filesBelow(directory, path) : [path];
    })
    .sort(byName);
}

/** What npm packs has the modes that its files have: a copy of them has those of everybody's. */
function packNpm(out) {
  const stage = mkdtempSync(join(tmpdir(), `${NAME}-npm-`));
  try {
    const [{ files }] = JSON.parse(output("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"]));
    for (const { path } of files) {
      mkdirSync(dirname(join(stage, path)), { recursive: true });
      copyFileSync(join(ROOT, path), join(stage, path));
      chmodSync(join(stage, path), path === "dist/cli/main.js" ? 0o755 : 0o644);
    }
    run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", out], { cwd: stage });
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

function release(out) {
  if (!existsSync(join(ROOT, "node_modules/.package-lock.json"))) run("npm", ["ci", "--prefer-offline"]);
  // What an earlier build has left behind is not packed.
  rmSync(join(ROOT, "dist"), { recursive: true, force: true });
  run("npm", ["run", "--silent", "build"]);
  const build = JSON.parse(readFileSync(join(ROOT, "dist/build.json"), "utf8"));
  if (build.commit === undefined)
    throw new ReleaseError(
      "The commit is not known: release from a git checkout, or from what git archive has made",
    );
  if (build.modified)
    throw new ReleaseError(
      "The sources differ from the commit: commit what is to be released, and leave nothing beside it",
    );
  if (existsSync(out) && readdirSync(out).length > 0)
    throw new ReleaseError(`${out} is not empty: remove it, or name another directory`);
  mkdirSync(out, { recursive: true });
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(build.time) };
  packNpm(out);
  run(process.execPath, ["scripts/bundle.mjs", join(out, `${NAME}.mjs`)], { env });
  if (isThere("dpkg-deb")) run(process.execPath, ["deploy/debian/build-deb.mjs", out], { env });
  else console.error("dpkg-deb was not found: there is no .deb in this release");
  for (const directory of ["man", "completions"]) {
    mkdirSync(join(out, directory), { recursive: true });
    for (const file of readdirSync(join(ROOT, "dist", directory)))
      copyFileSync(join(ROOT, "dist", directory, file), join(out, directory, file));
  }
  const sums = filesBelow(out).map((path) => `${sum(join(out, path))}  ${path}\n`);
  writeFileSync(join(out, "SHA256SUMS"), sums.join(""));
  for (const path of filesBelow(out)) chmodSync(join(out, path), path.endsWith(".mjs") ? 0o755 : 0o644);
  return filesBelow(out)
    .map((path) => `${String(lstatSync(join(out, path)).size).padStart(9)}  ${path}\n`)
    .join("");
}

function sum(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Releases the commit of this checkout twice. @returns what differs. */
function check() {
  const work = mkdtempSync(join(tmpdir(), `${NAME}-release-`));
  try {
    const ways = [
      { name: "a", umask: 0o022, env: { TZ: "UTC", LC_ALL: "C", HOME: process.env["HOME"] } },
      {
        name: "another-place",
        umask: 0o077,
        env: { TZ: "Asia/Tokyo", LC_ALL: "C.UTF-8", HOME: process.env["HOME"] },
      },
    ];
    const [first, second] = ways.map(({ name, umask, env }) => {
      const clone = join(work, name, NAME);
      const before = process.umask(umask);
      try {
        run("git", ["clone", "--quiet", "--no-hardlinks", ROOT, clone]);
        const out = join(work, name, "out");
        const own = { PATH: process.env["PATH"], ...env };
        run(process.execPath, [join(clone, "scripts/release.mjs"), out], { cwd: clone, env: own });
        return new Map(filesBelow(out).map((path) => [path, sum(join(out, path))]));
      } finally {
        process.umask(before);
      }
    });
    const paths = [...new Set([...first.keys(), ...second.keys()])].sort(byName);
    return { count: paths.length, differing: paths.filter((path) => first.get(path) !== second.get(path)) };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  const [argument] = process.argv.slice(2);
  if (argument === "--check") {
    const { count, differing } = check();
    if (differing.length > 0) throw new ReleaseError(`Built twice, these differ: ${differing.join(", ")}`);
    console.log(`Built twice, ${count} files have the same bytes`);
  } else process.stdout.write(release(resolve(argument ?? join(ROOT, "release"))));
} catch (error) {
  // What a program that was run has to say it has said.
  if (!(error instanceof ReleaseError) && error.status === undefined) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
