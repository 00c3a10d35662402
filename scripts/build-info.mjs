// Writes dist/build.json: version, commit, and whether the sources differ from it. `npm run build` runs it.
// The time in it is the commit's, seconds since 1970: the same commit gives the same bytes.
import { execFileSync } from "node:child_process";
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** What the program is made from; a guest's disk image beside it does not make it another one. */
const SOURCES = [
  "src",
  "scripts",
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "tsconfig.build.json",
];

function git(root, ...args) {
  try {
    const stdio = ["ignore", "pipe", "ignore"];
    return execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio }).trim();
  } catch {
    return undefined;
  }
}

/** Of the sources in `root`. */
export function buildInfo(root) {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  // Sources that were unpacked inside of some other repository are not of its commit.
  const top = git(root, "rev-parse", "--show-toplevel");
  if (top !== undefined && realpathSync(top) === realpathSync(root)) {
    const commit = git(root, "rev-parse", "--verify", "HEAD");
    const time = Number(git(root, "log", "-1", "--format=%ct"));
    const changes = git(root, "status", "--porcelain", "--", ...SOURCES);
    if (commit !== undefined) return { version, commit, time, modified: changes !== "" };
  }
  const archived = readFileSync(join(root, "scripts/commit.txt"), "utf8");
  const [, exported, time] = /^([0-9a-f]{40}) (\d+)$/m.exec(archived) ?? [];
  if (exported === undefined) return { version, modified: false };
  return { version, commit: exported, time: Number(time), modified: false };
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const root = resolve(process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url)));
  writeFileSync(join(root, "dist/build.json"), `${JSON.stringify(buildInfo(root))}\n`);
}
