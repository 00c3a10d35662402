/** apt with a state directory of its own: it sees other suites than the machine does, and changes nothing. */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FetchError } from "./errors.ts";
import type { Machine } from "./machine.ts";
import type { RunOptions, RunResult } from "./run.ts";

/** A package at one version. */
export interface PackageVersion {
  readonly name: string;
  readonly version: string;
}

/** What apt offers of a package. */
export interface Candidate extends PackageVersion {
  /** The `Depends` field, as it is. */
  readonly depends: string;
  /** Bytes of the .deb. */
  readonly size: number;
}

/** How to open a {@link PrivateApt}. */
export interface PrivateAptOptions {
  readonly machine: Machine;
  /** An absolute directory, new and ours: everything apt writes goes there. */
  readonly directory: string;
  /** The sources, as deb822 text. */
  readonly sources: string;
  /** What the sources are, for messages: `trixie`. */
  readonly label: string;
  /** `empty`: as if nothing were installed, Debian's own packages only. `system`: on top of what the machine has. */
  readonly status: "empty" | "system";
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Only packages whose Release file is Debian's own, whatever else the sources name (apt_preferences(5)). */
const DEBIAN_ONLY = [
  "Package: *",
  "Pin: release o=Debian",
  "Pin-Priority: 500",
  "",
  "Package: *",
  "Pin: release o=*",
  "Pin-Priority: -1",
  "",
].join("\n");

/** `-o` settings that every call of a private apt gets. Signatures are checked even where the machine's apt.conf is lax. */
function settings(options: PrivateAptOptions): readonly string[] {
  const { directory, status } = options;
  const values = [
    "Dir::Etc::sourcelist=/dev/null",
    `Dir::Etc::sourceparts=${join(directory, "sources")}`,
    `Dir::State::lists=${join(directory, "lists")}`,
    `Dir::Cache=${join(directory, "cache")}`,
    // On, where a container image's apt.conf turns them off: every call would read all lists anew.
    "Dir::Cache::pkgcache=pkgcache.bin",
    "Dir::Cache::srcpkgcache=srcpkgcache.bin",
    "Acquire::GzipIndexes=false",
    "Acquire::Languages=none",
    "Acquire::Retries=2",
    "Acquire::http::Timeout=30",
    "Acquire::https::Timeout=30",
    "Acquire::AllowInsecureRepositories=false",
    "Acquire::AllowWeakRepositories=false",
    "Acquire::AllowDowngradeToInsecureRepositories=false",
    "APT::Get::AllowUnauthenticated=false",
    "Dpkg::Use-Pty=0",
    // Root's apt downloads as _apt, which may not enter our private directory. Nobody else's apt minds.
    "APT::Sandbox::User=root",
  ];
  if (status === "empty") {
    values.push(
      `Dir::State=${join(directory, "state")}`,
      `Dir::State::status=${join(directory, "state", "status")}`,
      `Dir::Etc::preferences=${join(directory, "preferences")}`,
      "Dir::Etc::preferencesparts=/dev/null",
      "APT::Architecture=amd64",
    );
  }
  return values.flatMap((value) => ["-o", value]);
}

/** apt on private lists. Get one by {@link openPrivateApt}. */
export class PrivateApt {
  /** The `-o` settings of every call, for those who run apt themselves. */
  readonly arguments: readonly string[];
  readonly #options: PrivateAptOptions;
  /** What `update` could not read: the likely reason for a package that is not there. */
  #trouble = "";

  constructor(options: PrivateAptOptions) {
    this.#options = options;
    this.arguments = settings(options);
  }

  /** Reads the archive's lists. A part that cannot be read is logged, and is the reason given when a package is missing. */
  async update(): Promise<void> {
    const { label, log } = this.#options;
    // The longest that a first run is silent otherwise: up to a minute, before it is known what is to be fetched.
    log(`Reading the archive's lists of ${label}`);
    const result = await this.#run("apt-get", ["update"], `apt-get update of ${label}`, 300);
    this.#trouble = aptTrouble(result);
    if (this.#trouble !== "") log(`apt-get update of ${label}: ${this.#trouble}`);
  }

  /**
   * The version of a package that apt would install.
   *
   * @throws {FetchError} where the suite does not offer it, with what `update` complained about.
   */
  async candidate(name: string): Promise<Candidate> {
    const { label } = this.#options;
    const args = ["show", "--no-all-versions", name];
    const result = await this.#run("apt-cache", args, `apt-cache show ${name}`, 60);
    const field = (key: string): string | undefined =>
      new RegExp(`^${key}: (.*)$`, "m").exec(result.stdout)?.[1];
    const version = field("Version");
    if (result.code !== 0 || version === undefined) {
      const why = this.#trouble === "" ? "it is not there (any more)" : this.#trouble;
      throw new FetchError(`the archive's ${label} gives no ${name}: ${why}`);
    }
    return { name, version, depends: field("Depends") ?? "", size: Number(field("Size") ?? 0) };
  }

  /**
   * Packages and everything they depend on, as apt would install them on this state.
   *
   * @throws {FetchError} where apt finds no way to install them.
   */
  async closure(...names: readonly string[]): Promise<readonly PackageVersion[]> {
    const words = names.join(" ");
    const args = ["install", "--simulate", "--no-install-recommends", ...names];
    const result = await this.#run("apt-get", args, `apt-get install --simulate ${words}`, 60);
    if (result.code !== 0) throw new FetchError(`apt cannot resolve ${words}: ${aptTrouble(result)}`);
    return parseSimulation(result.stdout);
  }

  /**
   * Downloads packages into an empty directory. apt checks the hash of each.
   *
   * @returns the paths of the .deb files.
   * @throws {FetchError} where one of them could not be downloaded whole.
   */
  async download(packages: readonly PackageVersion[], directory: string): Promise<readonly string[]> {
    const { label } = this.#options;
    const args = ["download", ...packages.map(({ name, version }) => `${name}=${version}`)];
    const purpose = `apt-get download of ${packages.length} packages of ${label}`;
    const result = await this.#run("apt-get", args, purpose, 1200, { cwd: directory });
    if (result.code !== 0) throw new FetchError(`apt cannot download from ${label}: ${aptTrouble(result)}`);
    const files = (await readdir(directory)).filter((name) => name.endsWith(".deb"));
    if (files.length !== packages.length) {
      throw new FetchError(`apt downloaded ${files.length} of ${packages.length} packages of ${label}`);
    }
    return files.map((name) => join(directory, name));
  }

  /** Removes what an interrupted or refused download left behind. */
  async forgetDownloads(): Promise<void> {
    const archives = join(this.#options.directory, "cache", "archives");
    await rm(archives, { recursive: true, force: true });
    await mkdir(join(archives, "partial"), { recursive: true });
  }

  /** Runs `apt-cache policy`, whose text depends on the machine's own state. */
  async policy(name: string): Promise<string> {
    return (await this.#run("apt-cache", ["policy", name], `apt-cache policy ${name}`, 60)).stdout;
  }

  #run(
    command: string,
    args: readonly string[],
    purpose: string,
    limitSeconds: number,
    more: Pick<RunOptions, "cwd"> = {},
  ): Promise<RunResult> {
    const { machine, signal } = this.#options;
    const options = { purpose, limitSeconds, signal, env: { DEBIAN_FRONTEND: "noninteractive" }, ...more };
    return machine.run(command, [...this.arguments, ...args], options);
  }
}

/** Makes the private directory's tree. `update` comes next. */
export async function openPrivateApt(options: PrivateAptOptions): Promise<PrivateApt> {
  const { directory } = options;
  for (const path of ["sources", "lists/partial", "state", "cache/archives/partial"]) {
    await mkdir(join(directory, path), { recursive: true });
  }
  await writeFile(join(directory, "sources", "debian.sources"), options.sources);
  await writeFile(join(directory, "state", "status"), "");
  await writeFile(join(directory, "preferences"), DEBIAN_ONLY);
  return new PrivateApt(options);
}

/** Reads the `Inst` lines of `apt-get --simulate`: `Inst NAME [INSTALLED] (VERSION ARCHIVE...)`. */
export function parseSimulation(text: string): readonly PackageVersion[] {
  return [...text.matchAll(/^Inst ([^\s:]+)(?::\S+)? (?:\[[^\]]*\] )?\((\S+) /gm)].map(
    ([, name = "", version = ""]) => ({ name, version }),
  );
}

/** Complaints that only repeat that there were others, and one that is no trouble. */
const CONSEQUENCES =
  /^(?:Some index files failed|Unable to fetch some|Failed to fetch some|Download is performed unsandboxed|The repository '.*' is not signed)/;

/** What apt complained about, in one line and in the order of what explains most; empty where it did not. */
export function aptTrouble({ code, stderr }: Pick<RunResult, "code" | "stderr">): string {
  const all = stderr
    .split("\n")
    .filter((line) => /^[EW]: /.test(line))
    .map((line) =>
      line
        .slice(3)
        .replace(/\s*\[IP: [^\]]*\]/, "")
        .trim(),
    );
  const causes = all.filter((line) => !CONSEQUENCES.test(line));
  const key = causes.find((line) => /NO_PUBKEY|public key is not available/.test(line));
  if (key !== undefined) return `this machine's keyring lacks the key of its signature (${key})`;
  const gone = causes.find((line) => /(?:does not|no longer) ha(?:ve|s) a Release file|\s404\s/.test(line));
  if (gone !== undefined) return `it is not in the archive (any more) (${gone})`;
  return causes[0] ?? (code === 0 ? "" : (all[0] ?? `apt ended with status ${code}`));
}
