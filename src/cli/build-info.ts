/** Which program this is: its version, and the commit that it was built from. */
import { readFile } from "node:fs/promises";
import { BUNDLE, type BuildInfo } from "../bundle.ts";

/** Hex digits of a commit that users are shown: enough to be the only one. */
const SHOWN = 12;

/** Of the program that runs. What cannot be read is unknown: a program that does not know its commit still works. */
export async function readBuildInfo(): Promise<BuildInfo> {
  if (BUNDLE) return BUNDLE.build;
  const build = await readJson("../build.json");
  const { version } = build.version === undefined ? await readJson("../../package.json") : build;
  return {
    version: typeof version === "string" ? version : "unknown",
    commit: typeof build.commit === "string" ? build.commit : undefined,
    modified: build.modified === true,
  };
}

/** What `--version` prints, without the newline. */
export function versionText({ version, commit, modified }: BuildInfo): string {
  const shown = commit === undefined ? "commit unknown" : `commit ${commit.slice(0, SHOWN)}`;
  return `${version} (${shown}${modified ? ", with changes that are not committed" : ""})`;
}

interface Fields {
  readonly version?: unknown;
  readonly commit?: unknown;
  readonly modified?: unknown;
}

async function readJson(path: string): Promise<Fields> {
  try {
    const value: unknown = JSON.parse(await readFile(new URL(path, import.meta.url), "utf8"));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
