/** The machine's own Debian sources, and the same sources with another suite. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { FetchError } from "./errors.ts";
import { readDistribution, type Machine } from "./machine.ts";
import { parseDeb822Sources, parseOneLineSources, type PackageSource } from "./sources.ts";

/** The machine's own Debian sources: those whose suites are its own code name's. */
export interface OwnSources {
  readonly codename: string;
  readonly sources: readonly PackageSource[];
}

/** Suites that are called after their state; which code name they mean changes with every release. */
const MOVING_SUITES = /^(?:stable|oldstable|oldoldstable|testing|unstable)(?:[-/].*)?$/;

/**
 * What is kept of a source's options. Left out are those that would weaken the check of signatures
 * (`Trusted`, `Allow-Insecure`, `Allow-Weak`, ...) and those that choose what we choose ourselves.
 */
const KEPT_OPTIONS: readonly (readonly [field: string, option: string])[] = [
  ["Signed-By", "signed-by"],
  ["Check-Valid-Until", "check-valid-until"],
  ["Valid-Until-Min", "valid-until-min"],
  ["Valid-Until-Max", "valid-until-max"],
  ["Check-Date", "check-date"],
  ["Date-Max-Future", "date-max-future"],
  ["By-Hash", "by-hash"],
  ["Snapshot", "snapshot"],
];

/**
 * Finds the machine's own Debian sources in `apt/sources.list` and `apt/sources.list.d`.
 *
 * @throws {FetchError} where this is not Debian, or no source names its code name.
 */
export async function readOwnSources(machine: Machine): Promise<OwnSources> {
  const distribution = await readDistribution(machine);
  if (distribution.id !== "debian") {
    throw new FetchError(`this is ${distribution.name}, whose archive is not Debian's`);
  }
  const { codename } = distribution;
  if (codename === "") throw new FetchError("os-release has no VERSION_CODENAME");
  const all = await readSources(machine);
  const sources = ownSources(all, codename);
  if (sources.length > 0) return { codename, sources };
  const moving = all.flatMap(({ suites, origin }) =>
    suites.filter((suite) => MOVING_SUITES.test(suite)).map((suite) => `"${suite}" in ${origin}`),
  );
  const hint = moving.length === 0 ? "" : ` (${moving[0]} is not taken: write "${codename}" there)`;
  throw new FetchError(`apt's sources name no suite "${codename}" with component "main"${hint}`);
}

/** All enabled sources of binary packages. apt reads only names of these characters (sources.list(5)). */
async function readSources(machine: Machine): Promise<readonly PackageSource[]> {
  const apt = join(machine.etc, "apt");
  const parts = await readdir(join(apt, "sources.list.d")).catch(() => []);
  const files = [
    "sources.list",
    ...parts
      .filter((name) => /^[A-Za-z0-9_.-]+\.(?:list|sources)$/.test(name))
      .sort()
      .map((name) => join("sources.list.d", name)),
  ];
  const sources: PackageSource[] = [];
  for (const file of files) {
    const text = await readFile(join(apt, file), "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const parse = file.endsWith(".sources") ? parseDeb822Sources : parseOneLineSources;
    try {
      sources.push(...parse(text, join(apt, file)));
    } catch (cause) {
      throw new FetchError(cause instanceof Error ? cause.message : String(cause), { cause });
    }
  }
  return sources;
}

/**
 * Those sources that belong to a code name, reduced to their own suites.
 *
 * A vendor's suite that merely contains the code name (`vendor-bookworm`) does not belong to it; a vendor
 * that calls its suite like Debian's is kept out later, by a pin on the Release file's Origin.
 */
export function ownSources(all: readonly PackageSource[], codename: string): readonly PackageSource[] {
  return all
    .map((source) => ({ ...source, suites: source.suites.filter((suite) => isOwn(suite, codename)) }))
    .filter((source) => source.suites.length > 0 && source.components.includes("main"))
    .filter((source) => !source.uris.some((uri) => uri.startsWith("cdrom:")))
    .filter((source) => givesAmd64(source.options.get("architectures")));
}

function isOwn(suite: string, codename: string): boolean {
  return changeSuite(suite, codename, codename) !== undefined;
}

function givesAmd64(architectures: string | undefined): boolean {
  return architectures === undefined || architectures.split(/[\s,]+/).includes("amd64");
}

/**
 * The suite of another release that corresponds to one of `from`.
 *
 * @returns undefined where the suite is not one of `from`'s. `from/updates` is how security was called before bullseye.
 */
export function changeSuite(suite: string, from: string, to: string): string | undefined {
  switch (suite) {
    case from:
      return to;
    case `${from}-updates`:
      return `${to}-updates`;
    case `${from}-security`:
    case `${from}/updates`:
      return `${to}-security`;
    default:
      return undefined;
  }
}

/** Own sources as deb822 text, with the suite changed to `suite`'s. */
export function renderForSuite(own: OwnSources, suite: string): string {
  return render(own.sources, (name) => changeSuite(name, own.codename, suite) ?? name);
}

/** Own sources as deb822 text, and the same archive's backports: its main suite's sources have them. */
export function renderWithBackports(own: OwnSources): string {
  const main = own.sources
    .filter(({ suites }) => suites.includes(own.codename))
    .map((source) => ({ ...source, suites: [`${own.codename}-backports`] }));
  return render([...own.sources, ...main], (name) => name);
}

function render(sources: readonly PackageSource[], suite: (name: string) => string): string {
  const stanzas = sources.map((source) => {
    const options = KEPT_OPTIONS.map(([field, name]) => [field, source.options.get(name)] as const);
    return [
      "Types: deb",
      `URIs: ${source.uris.join(" ")}`,
      `Suites: ${[...new Set(source.suites.map(suite))].join(" ")}`,
      "Components: main",
      "Architectures: amd64",
      ...options.filter(([, value]) => value !== undefined).map(([field, value]) => `${field}: ${value}`),
      "",
    ].join("\n");
  });
  return stanzas.join("\n");
}
