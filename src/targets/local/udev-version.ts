/** Which udev a machine has: by the files that systemd installs, for it is not asked, and may be another machine's. */
import { ALL_DIALECTS, type Dialect, dialectOf, NEWEST } from "../../rules/dialect.ts";
import type { ReadTree } from "../../layout/sysfs.ts";

/** A machine's udev. */
export interface UdevVersion {
  /** systemd's number; undefined where nothing tells it. */
  readonly version: number | undefined;
  /** What told it; undefined where nothing did. */
  readonly source: string | undefined;
  /** How its rules are read: of the versions that are known, the one that it resembles. */
  readonly dialect: Dialect;
}

const DIRECTORIES = [
  "/usr/lib/systemd",
  "/lib/systemd",
  "/usr/lib/x86_64-linux-gnu/systemd",
  "/lib/x86_64-linux-gnu/systemd",
  "/usr/lib64/systemd",
];

/** Releases whose systemd has no such library (before 231), or of which only /etc was copied. */
const RELEASES: Readonly<Record<string, number>> = {
  "el 7": 219,
  "el 8": 239,
  "el 9": 252,
  "el 10": 257,
  "debian 11": 247,
  "debian 12": 252,
  "debian 13": 257,
};

const ENTERPRISE = new Set(["rhel", "centos", "almalinux", "rocky", "ol"]);

/** Finds the version of `tree`'s udev. */
export async function findUdevVersion(tree: ReadTree): Promise<UdevVersion> {
  for (const directory of DIRECTORIES) {
    for (const name of await tree.list(directory)) {
      // RHEL has the package's release behind it: libsystemd-shared-252-46.el9.so.
      const digits = /^libsystemd-(?:shared|core)-(\d{3})\b.*\.so$/.exec(name)?.[1];
      if (digits === undefined) continue;
      const version = Number(digits);
      return { version, source: `${directory}/${name}`, dialect: dialectLike(version) };
    }
  }
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    const text = await tree.readText(path);
    const version = text === undefined ? undefined : RELEASES[releaseOf(text)];
    if (version !== undefined) return { version, source: path, dialect: dialectLike(version) };
  }
  return { version: undefined, source: undefined, dialect: NEWEST };
}

/** `debian 12`, `el 8`. */
function releaseOf(osRelease: string): string {
  const value = (name: string): string =>
    new RegExp(`^${name}=["']?([^"'\\n]*)`, "m").exec(osRelease)?.[1]?.trim() ?? "";
  const id = value("ID");
  return `${ENTERPRISE.has(id) ? "el" : id} ${value("VERSION_ID").split(".")[0] ?? ""}`;
}

/** v243 has another parser: what came after it is never read as what was before. */
function dialectLike(version: number): Dialect {
  const older = ALL_DIALECTS.filter((dialect) => dialect.version <= version).at(-1) ?? dialectOf(219);
  return version >= 243 && older.version < 243 ? dialectOf(247) : older;
}
