// Makes kdump-hotplug_VERSION_ARCH.deb of the built program, with dpkg-deb and nothing else: `make deb`.
// The same tree, built at the same SOURCE_DATE_EPOCH (without it: the time of the last commit), gives the same bytes.
// Plain JavaScript, like test/run.mjs: it packs the program, and is no part of it.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE = resolve(HERE, "../..");
const NAME = "kdump-hotplug";
/** Where the program lies; /usr/bin has a link to it. */
const LIB = `usr/lib/${NAME}`;
const DOC = `usr/share/doc/${NAME}`;

/** Ends with a sentence instead of a stack. */
class BuildError extends Error {}

/** By code units, whatever the locale. */
function byName(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Standard output of a program, without its last newline. */
function output(program, args) {
  try {
    return execFileSync(program, args, {
      cwd: SOURCE,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

function epoch() {
  const given = process.env["SOURCE_DATE_EPOCH"] ?? output("git", ["log", "-1", "--format=%ct"]);
  if (given === undefined || !/^\d{1,12}$/.test(given))
    throw new BuildError(
      "Of what time is the package? Set SOURCE_DATE_EPOCH to seconds since 1970, or build from a git checkout",
    );
  return Number(given);
}

/**
 * Directories of the packages that the program needs to run, relative to `root`: dependencies and those optional ones
 * that are installed, found as Node finds them. Not what other packages would like to have beside them (peers).
 */
export function runtimePackages(root) {
  const found = new Set();
  const visit = (directory) => {
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(root, directory, "package.json"), "utf8"),
    );
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies }).sort(byName)) {
      const place = findPackage(root, directory, name);
      if (place === undefined) {
        if (name in optionalDependencies) continue;
        throw new BuildError(`The package ${name} is not installed: run npm ci first`);
      }
      if (found.has(place)) continue;
      found.add(place);
      visit(place);
    }
  };
  visit("");
  return [...found].sort(byName);
}

function findPackage(root, from, name) {
  for (let directory = from; ; directory = dirname(directory)) {
    const place = join(directory === "." ? "" : directory, "node_modules", name);
    if (existsSync(join(root, place, "package.json"))) return place;
    if (directory === "" || directory === ".") return undefined;
  }
}

/** Copies a package without the packages in it: those that are needed are in the list themselves. */
function copyPackage(from, to) {
  cpSync(from, to, {
    recursive: true,
    dereference: true,
    filter: (path) =>
      path === from ||
      (!path.slice(from.length).split("/").includes("node_modules") && !/\/\.(?:npm|git)ignore$/.test(path)),
  });
}

function put(root, path, content, mode = 0o644) {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
  chmodSync(join(root, path), mode);
}

/** Not what only compilers and debuggers read, and not what lies elsewhere in a system. */
function isLoaded(path) {
  return !/\.(?:d\.ts|map)$/.test(path) && !/\/dist\/(?:man|completions)$/.test(path);
}

/** Where each shell looks for what packages bring. */
const COMPLETIONS = [
  ["kdump-hotplug.bash", `usr/share/bash-completion/completions/${NAME}`],
  ["_kdump-hotplug", `usr/share/zsh/vendor-completions/_${NAME}`],
  ["kdump-hotplug.fish", `usr/share/fish/vendor_completions.d/${NAME}.fish`],
];

/** Debian wants one; what changed is in the sources' history, which begins at the commit that is named. */
function changelog({ version }, time) {
  const { commit = "unknown" } = JSON.parse(readFileSync(join(SOURCE, "dist/build.json"), "utf8"));
  const maintainer = /^Maintainer: (.*)$/m.exec(readFileSync(join(HERE, "control"), "utf8"))[1];
  const date = new Date(time * 1000).toUTCString().replace("GMT", "+0000");
  return `${NAME} (${version}) unstable; urgency=medium\n\n  * Built from commit ${commit}.\n\n -- ${maintainer}  ${date}\n`;
}

/** Lays out what is installed. */
function stage(root, manifest, time) {
  const { name, version, license, description } = manifest;
  const program = join(SOURCE, "dist/cli/main.js");
  if (!existsSync(program)) throw new BuildError(`There is no ${program}: run make build first`);
  cpSync(join(SOURCE, "dist"), join(root, LIB, "dist"), { recursive: true, filter: isLoaded });
  put(
    root,
    `${LIB}/package.json`,
    `${JSON.stringify({ name, version, description, license, type: "module" }, null, 2)}\n`,
  );
  for (const place of runtimePackages(SOURCE)) copyPackage(join(SOURCE, place), join(root, LIB, place));
  mkdirSync(join(root, "usr/bin"), { recursive: true });
  symlinkSync(`../lib/${NAME}/dist/cli/main.js`, join(root, "usr/bin", NAME));

  for (const [from, to] of [
    ["deploy/systemd/kdump-hotplug.service", "usr/lib/systemd/system/kdump-hotplug.service"],
    ["deploy/systemd/keep.json", `${DOC}/examples/keep.json`],
    ["deploy/prometheus/kdump-hotplug.rules.yml", `usr/share/${NAME}/prometheus/kdump-hotplug.rules.yml`],
    ["deploy/grafana/kdump-hotplug.json", `usr/share/${NAME}/grafana/kdump-hotplug.json`],
    ["README.md", `${DOC}/README.md`],
    ["deploy/debian/copyright", `${DOC}/copyright`],
  ])
    put(root, to, readFileSync(join(SOURCE, from)));
  for (const file of readdirSync(join(SOURCE, "docs")).filter((each) => each.endsWith(".md")))
    put(root, `${DOC}/docs/${file}`, readFileSync(join(SOURCE, "docs", file)));
  for (const directory of ["docs/decisions", "docs/reference"]) {
    if (!existsSync(join(SOURCE, directory))) continue;
    for (const file of readdirSync(join(SOURCE, directory)).filter((each) => each.endsWith(".md")))
      put(root, `${DOC}/${directory}/${file}`, readFileSync(join(SOURCE, directory, file)));
  }
  put(root, `${DOC}/changelog.gz`, gzipSync(changelog(manifest, time), { level: 9 }));
  // gzip as `gzip -n` does: without a name, without a time.
  for (const file of readdirSync(join(SOURCE, "dist/man")))
    put(
      root,
      `usr/share/man/man1/${file}.gz`,
      gzipSync(readFileSync(join(SOURCE, "dist/man", file)), { level: 9 }),
    );
  for (const [from, to] of COMPLETIONS) put(root, to, readFileSync(join(SOURCE, "dist/completions", from)));
  mkdirSync(join(root, "etc", NAME), { recursive: true });
}

/** Every path below `root`, sorted, relative. */
function tree(root, below = "") {
  return readdirSync(join(root, below), { withFileTypes: true })
    .sort((a, b) => byName(a.name, b.name))
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return entry.isDirectory() ? [path, ...tree(root, path)] : [path];
    });
}

/** Modes that do not depend on the builder's umask, and one time for all. */
function settle(root, time) {
  for (const path of [...tree(root).toReversed(), "."]) {
    const place = join(root, path);
    const entry = lstatSync(place);
    if (!entry.isSymbolicLink()) {
      const isProgram =
        entry.isDirectory() || path === `${LIB}/dist/cli/main.js` || path.startsWith("DEBIAN/p");
      chmodSync(place, isProgram ? 0o755 : 0o644);
    }
    lutimesSync(place, time, time);
  }
}

function control(root, { version }, architecture) {
  const files = tree(root).filter((path) => lstatSync(join(root, path)).isFile());
  // As dpkg-gencontrol(1) counts: files by KiB that they take, everything else as one.
  const size = tree(root).reduce((sum, path) => {
    const entry = lstatSync(join(root, path));
    return sum + (entry.isFile() ? Math.ceil(entry.size / 1024) : 1);
  }, 0);
  const sums = files.map(
    (path) =>
      `${createHash("md5")
        .update(readFileSync(join(root, path)))
        .digest("hex")}  ${path}\n`,
  );
  const text = readFileSync(join(HERE, "control"), "utf8")
    .replace("@VERSION@", version)
    .replace("@ARCHITECTURE@", architecture)
    .replace("@INSTALLED_SIZE@", String(size));
  put(root, "DEBIAN/control", text);
  put(root, "DEBIAN/md5sums", sums.join(""));
  for (const script of ["postinst", "prerm", "postrm"])
    put(root, `DEBIAN/${script}`, readFileSync(join(HERE, script)), 0o755);
}

/** Builds the package. @returns its path. */
export function buildDeb(directory) {
  const architecture = output("dpkg", ["--print-architecture"]);
  if (architecture === undefined)
    throw new BuildError(
      "dpkg was not found: the package is built on Debian, or where apt-get install dpkg-dev gives it",
    );
  const time = epoch();
  const manifest = JSON.parse(readFileSync(join(SOURCE, "package.json"), "utf8"));
  const work = mkdtempSync(join(tmpdir(), "kdump-hotplug-deb-"));
  try {
    const root = join(work, "root");
    mkdirSync(root);
    stage(root, manifest, time);
    control(root, manifest, architecture);
    settle(root, time);
    const file = join(resolve(directory), `${NAME}_${manifest.version}_${architecture}.deb`);
    mkdirSync(dirname(file), { recursive: true });
    // One thread: the bytes that several of them make depend on how many there are.
    execFileSync("dpkg-deb", ["--root-owner-group", "-Zxz", "--threads-max=1", "--build", root, file], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(time), LC_ALL: "C" },
      stdio: ["ignore", "ignore", "inherit"],
    });
    return file;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && basename(process.argv[1]) === "build-deb.mjs") {
  try {
    console.log(buildDeb(process.argv[2] ?? SOURCE));
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
