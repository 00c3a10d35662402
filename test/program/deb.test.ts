/** The .deb: what is in it, that it is the same each time, and that it can be installed, used and removed. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const BUILD = join(SOURCE, "deploy/debian/build-deb.mjs");
const EPOCH = "1700000000";
const run = promisify(execFile);

interface Entry {
  readonly mode: string;
  readonly owner: string;
  readonly time: string;
  readonly path: string;
}

async function sum(path: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
}

/** An entry of dpkg's list, as if Debian had it. */
function installed(name: string, its: string): string {
  return `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: ${its}\nMaintainer: x <x@x>\nDescription: x\n\n`;
}

/** A root for dpkg, with nothing in it. */
async function makeRoot(directory: string, name: string, packages: string): Promise<string> {
  const path = join(directory, name);
  for (const folder of ["updates", "info", "triggers"])
    await mkdir(join(path, "var/lib/dpkg", folder), { recursive: true });
  await writeFile(join(path, "var/lib/dpkg/status"), packages);
  await writeFile(join(path, "var/lib/dpkg/info/format"), "1\n");
  return path;
}

/** Files below `path` that are not dpkg's own. */
async function filesOf(path: string): Promise<readonly string[]> {
  const all = await readdir(path, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .filter((name) => !name.startsWith("var/lib/dpkg/") && !name.startsWith("var/log/"));
}

const manifest: unknown = JSON.parse(await readFile(join(SOURCE, "package.json"), "utf8"));
const version = /"version": "([^"]+)"/.exec(JSON.stringify(manifest, null, 1))![1]!;

/** Why no package can be built here; undefined where one can. */
const reason = await run("dpkg-deb", ["--version"]).then(
  () => undefined,
  () => "dpkg-deb is not installed: this is no Debian",
);

describe.skipIf(reason)(`the .deb${reason ? ` (skipped: ${reason})` : ""}`, () => {
  let directory: string;
  let deb: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kdh-deb-"));
    deb = await build("first");
  }, 120_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function build(name: string): Promise<string> {
    const { stdout } = await run(process.execPath, [BUILD, join(directory, name)], {
      env: { ...process.env, SOURCE_DATE_EPOCH: EPOCH, TZ: name === "first" ? "UTC" : "Asia/Tokyo" },
    });
    return stdout.trim();
  }

  async function entries(): Promise<readonly Entry[]> {
    const env = { ...process.env, TZ: "UTC" };
    const { stdout } = await run("dpkg-deb", ["--contents", deb], { env, maxBuffer: 64 << 20 });
    return stdout
      .trim()
      .split("\n")
      .map((line) => {
        const [, mode = "", owner = "", time = "", path = ""] =
          /^(\S+) (\S+) +\d+ (\S+ \S+) \.\/(.*)$/.exec(line) ?? [];
        return { mode, owner, time, path };
      });
  }

  test("has the same bytes each time, whoever builds it and whenever the files were written", async () => {
    const file = join(SOURCE, "dist/cli/main.js");
    const now = new Date();
    await utimes(file, now, now);
    const before = process.umask(0o077);
    const again = await build("second").finally(() => process.umask(before));
    expect(await sum(again)).toBe(await sum(deb));
  }, 120_000);

  test("belongs to root, is of one time, and nobody else may write to it", async () => {
    for (const { mode, owner, time, path } of await entries()) {
      expect([owner, time, path]).toEqual(["root/root", "2023-11-14 22:13", path]);
      expect(mode).toMatch(/^(?:drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/);
    }
  });

  test("has the program and what it needs to run, and nothing that only building and testing need", async () => {
    const paths = (await entries()).map(({ path }) => path);
    const packages = new Set(
      paths.flatMap(
        (path) => /^usr\/lib\/kdump-hotplug\/node_modules\/((?:@[^/]+\/)?[^/@]+)\/./.exec(path)?.[1] ?? [],
      ),
    );
    const wanted = ["commander", "d3-scale", "koffi", "lossless-json", "prom-client", "valibot", "tdigest"];
    for (const name of wanted) expect(packages).toContain(name);
    for (const name of [
      "typescript",
      "vitest",
      "prettier",
      "oxlint",
      "fast-check",
      "yaml",
      "kubernetes-models",
      "@types/node",
    ])
      expect(packages).not.toContain(name);
    expect(paths).toContain("usr/lib/systemd/system/kdump-hotplug.service");
    for (const path of ["copyright", "README.md", "docs/service.md", "docs/metrics.md", "examples/keep.json"])
      expect(paths).toContain(`usr/share/doc/kdump-hotplug/${path}`);
    expect(paths.filter((path) => /^usr\/lib\/kdump-hotplug\/dist\/.*\.(?:map|d\.ts)$/.test(path))).toEqual(
      [],
    );
    expect(paths.filter((path) => /^usr\/lib\/kdump-hotplug\/dist\/(?:man|completions)/.test(path))).toEqual(
      [],
    );
    expect(paths.filter((path) => /^usr\/lib\/kdump-hotplug\/(?:src|test)\//.test(path))).toEqual([]);
  });

  test("has a man page for each command and completion for each shell, where they are looked for", async () => {
    const paths = (await entries()).map(({ path }) => path);
    const pages = (await readdir(join(SOURCE, "dist/man"))).map((page) => `usr/share/man/man1/${page}.gz`);
    expect(pages.length).toBeGreaterThan(15);
    const completions = [
      "usr/share/bash-completion/completions/kdump-hotplug",
      "usr/share/zsh/vendor-completions/_kdump-hotplug",
      "usr/share/fish/vendor_completions.d/kdump-hotplug.fish",
    ];
    expect(paths).toEqual(expect.arrayContaining([...pages, ...completions]));
    // Neither name nor time: gzip -n. Flags at byte 3, the time from byte 4 on.
    const unpacked = join(directory, "pages");
    await run("dpkg-deb", ["--extract", deb, unpacked]);
    for (const page of pages)
      expect([...(await readFile(join(unpacked, page))).subarray(2, 8)]).toEqual([8, 0, 0, 0, 0, 0]);
  });

  test("says what it is and what it needs", async () => {
    const { stdout } = await run("dpkg-deb", ["--field", deb]);
    expect(stdout).toContain(`Version: ${version}\n`);
    expect(stdout).toContain("Depends: nodejs (>= 20.19), ");
    expect(stdout).not.toMatch(/@[A-Z_]+@/);
    expect(Number(/^Installed-Size: (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(1000);
  });

  describe("installed into a directory of its own", () => {
    let root: string;
    const libraries = installed("libc6", "2.36") + installed("libstdc++6", "12");
    /** Nothing of this machine's own is touched: its scripts run without chroot, and are told where they are. */
    const dpkg = async (...args: readonly string[]): Promise<string> => {
      const options = [`--root=${root}`, "--force-script-chrootless", "--force-not-root"];
      const path = [process.env["PATH"] ?? "", "/usr/sbin", "/sbin"].join(delimiter);
      const { stdout } = await run("dpkg", [...options, ...args], {
        env: { ...process.env, PATH: path, LC_ALL: "C" },
      });
      return stdout;
    };

    test("is refused where Node is too old", async () => {
      root = await makeRoot(directory, "old", libraries + installed("nodejs", "18.20.4"));
      await expect(dpkg("--install", deb)).rejects.toThrow(/depends on nodejs \(>= 20\.19\)/);
    });

    test("runs, by its name in /usr/bin, with every package that it needs, and is gone when it is removed", async () => {
      root = await makeRoot(directory, "new", libraries + installed("nodejs", "20.19.2"));
      await dpkg("--install", deb);
      expect(await dpkg("--list", "kdump-hotplug")).toMatch(/^ii +kdump-hotplug /m);
      const program = join(root, "usr/bin/kdump-hotplug");
      const env = { PATH: dirname(process.execPath), HOME: root };
      const cwd = "/";
      const own = await run(process.execPath, [join(SOURCE, "dist/cli/main.js"), "--version"]);
      expect(own.stdout).toContain(`${version} (commit `);
      expect((await run(program, ["--version"], { env, cwd })).stdout).toBe(own.stdout);
      const audit = await run(program, ["audit", "sim:6.1"], { env, cwd });
      expect(audit.stdout).toContain("accurate");
      // The packages that are loaded only where they are wanted.
      const script = `
        const base = ${JSON.stringify(join(root, "usr/lib/kdump-hotplug/dist/"))};
        const { ServiceMetrics } = await import(base + "keeper/metrics/service-metrics.js");
        const { loadSystemCalls } = await import(base + "targets/local/system-calls.js");
        const text = await new ServiceMetrics({ version: "9" }).text();
        console.log(text.includes('build_info{version="9"'), typeof (await loadSystemCalls()).invoke);`;
      const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], { env, cwd });
      expect(stdout.trim()).toBe("true function");
      // What dpkg has is what is there: no file is changed or missing.
      expect(await dpkg("--verify", "kdump-hotplug")).toBe("");

      await mkdir(join(root, "var/lib/kdump-hotplug/journal"), { recursive: true });
      await writeFile(join(root, "var/lib/kdump-hotplug/journal/journal.jsonl"), "{}\n");
      await writeFile(join(root, "etc/kdump-hotplug/keep.json"), "{}\n");
      await dpkg("--remove", "kdump-hotplug");
      expect(await filesOf(root)).toEqual(
        expect.arrayContaining([
          "etc/kdump-hotplug/keep.json",
          "var/lib/kdump-hotplug/journal/journal.jsonl",
        ]),
      );
      expect(await filesOf(root)).toHaveLength(2);
      await dpkg("--purge", "kdump-hotplug");
      expect(await filesOf(root)).toEqual([]);
    }, 120_000);

    test("has a unit that systemd finds nothing wrong with", async ({ skip }) => {
      const there = await run("systemd-analyze", ["--version"]).then(
        () => true,
        () => false,
      );
      skip(!there, "systemd-analyze is not installed");
      const unpacked = join(directory, "unpacked");
      await run("dpkg-deb", ["--extract", deb, unpacked]);
      await access(join(unpacked, "usr/bin/kdump-hotplug"));
      // Units and programs that the unit names, as a whole system has them.
      for (const unit of [
        "sysinit.target",
        "basic.target",
        "shutdown.target",
        "multi-user.target",
        "local-fs.target",
      ])
        await writeFile(join(unpacked, "usr/lib/systemd/system", unit), "[Unit]\nDefaultDependencies=no\n");
      await mkdir(join(unpacked, "bin"), { recursive: true });
      await writeFile(join(unpacked, "bin/kill"), "", { mode: 0o755 });
      const verify = async (): Promise<string> => {
        const args = ["verify", "--man=no", `--root=${unpacked}`, "kdump-hotplug.service"];
        return await run("systemd-analyze", args).then(
          ({ stderr }) => stderr,
          (error: { readonly stderr: string }) => error.stderr,
        );
      };
      expect(await verify()).toBe("");
      const unit = join(unpacked, "usr/lib/systemd/system/kdump-hotplug.service");
      const text = await readFile(unit, "utf8");
      await writeFile(
        unit,
        text.replace("WatchdogSec=30", "WatchdogSec=soon\nWatchDog=1").replace("usr/bin", "usr/lost"),
      );
      const wrong = await verify();
      expect(wrong).toContain("Failed to parse sec value, ignoring: soon");
      expect(wrong).toMatch(/Unknown key (?:name )?'WatchDog'/);
      expect(wrong).toContain("is not executable");
    });
  });
});
