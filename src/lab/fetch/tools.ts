/** Outside tools that judge a dump: programs that we did not write, with exactly what they load. */
import { join } from "node:path";
import { type CacheEntry, listFiles } from "./cache.ts";
import { FetchError } from "./errors.ts";
import {
  command,
  copiedProgram,
  copyPrograms,
  copyTrees,
  type Program,
  type SuppliedFile,
  suppliedFiles,
} from "./program.ts";
import type { Workshop } from "./workshop.ts";

/** The tools, as the lab calls them; `python` is there for drgn. */
export type DumpTool = "makedumpfile" | "readelf" | "gdb" | "crash" | "python";

export const DUMP_TOOLS: readonly DumpTool[] = ["makedumpfile", "readelf", "gdb", "crash", "python"];

/** The tools of one Debian release. */
export interface ToolsSupply {
  /** What each says of itself: `1.7.6`; of python it is what its drgn says. */
  readonly versions: Readonly<Record<DumpTool, string>>;
  /** Programs, libraries and loader, laid out as in Debian below {@link root}. */
  readonly files: readonly SuppliedFile[];
  /** The `guestPath` of makedumpfile and what it loads: what a capture kernel needs to run it. */
  readonly makedumpfileFiles: readonly string[];
  /** Absolute, on this machine. */
  readonly root: string;
  /** The loader's path, as if `root` were `/`. */
  readonly loader: string;
}

/** The supply's name in the cache. Below it, `root/` is laid out as in Debian. */
export const TOOLS_ENTRY = "tools";

const SUITE = "trixie";
const PACKAGES = ["makedumpfile", "binutils", "gdb", "crash", "python3-drgn"] as const;

/** The programs' paths, as in Debian. */
export const TOOL_PATHS: Readonly<Record<DumpTool, string>> = {
  makedumpfile: "/usr/bin/makedumpfile",
  readelf: "/usr/bin/readelf",
  gdb: "/usr/bin/gdb",
  crash: "/usr/bin/crash",
  python: "/usr/bin/python3",
};

/** How each is asked for its version, and what it answers. drgn has no program of its own that runs without Python's. */
const VERSIONS: Readonly<Record<DumpTool, readonly [args: readonly string[], wanted: RegExp]>> = {
  makedumpfile: [["-v"], /version (\d\S*)/],
  readelf: [["--version"], /(\d+\.\d[\d.]*)$/m],
  gdb: [["--version"], /(\d+\.\d[\d.]*)$/m],
  crash: [["--version"], /^crash (\d\S*)/m],
  python: [["-c", "import drgn; print(drgn.__version__)"], /^(\d\S*)/m],
};

/** Python's own library, and drgn with its extension. */
const PYTHON = /^\/usr\/lib\/(?:python3\.\d+\/|python3\/dist-packages\/_?drgn)/;

/**
 * Fetches the tools of Debian 13 into the cache.
 *
 * @throws {FetchError} where the suite is not in the archive, cannot be trusted, or a tool does not run here.
 */
export async function fetchTools(workshop: Workshop): Promise<CacheEntry> {
  const { cache, log } = workshop.context;
  const apt = await workshop.suite(SUITE);
  const { version } = await apt.candidate("makedumpfile");
  const closure = await apt.closure(...PACKAGES);
  const wanted = new Set<string>(PACKAGES);
  const packages = closure.filter(
    ({ name }) => wanted.has(name) || /^(?:lib|zlib|binutils|python3)/.test(name),
  );
  log(`Fetching ${PACKAGES.join(", ")} of ${SUITE} with ${packages.length - PACKAGES.length} packages more`);
  const root = await workshop.unpack(apt, packages);

  const entry = await workshop.directory("tools");
  const to = join(entry, "root");
  const copies = { root, to, label: SUITE };
  const { makedumpfile, ...others } = TOOL_PATHS;
  await copyPrograms(workshop.context, { ...copies, paths: [makedumpfile] });
  const makedumpfileFiles = (await listFiles(to)).map((path) => `/${path}`).join("\n");
  const loader = await copyPrograms(workshop.context, { ...copies, paths: Object.values(others) });
  if (loader === undefined) throw new FetchError(`the tools of ${SUITE} are static, which is new`);
  await copyTrees(workshop.context, { ...copies, loader, wanted: PYTHON });
  const facts: Record<string, string> = { loader, makedumpfileFiles };
  for (const tool of DUMP_TOOLS) facts[tool] = await versionOf(workshop, to, loader, tool);
  return cache.publish(TOOLS_ENTRY, entry, { package: "makedumpfile", version, facts });
}

/** The supply that a cache entry stands for. Its programs ran when it was fetched, and its files have not changed since. */
export function toolsFromEntry(entry: CacheEntry): ToolsSupply {
  const version = (tool: DumpTool): string => entry.facts[tool] ?? "";
  return {
    versions: {
      makedumpfile: version("makedumpfile"),
      readelf: version("readelf"),
      gdb: version("gdb"),
      crash: version("crash"),
      python: version("python"),
    },
    files: suppliedFiles(entry),
    makedumpfileFiles: (entry.facts["makedumpfileFiles"] ?? "").split("\n"),
    root: join(entry.directory, "root"),
    loader: entry.facts["loader"] ?? "",
  };
}

/** How to run one tool here: copies and their libraries, nothing of this machine's. */
export async function toolProgram(
  { root, loader }: Pick<ToolsSupply, "root" | "loader">,
  tool: DumpTool,
): Promise<Program> {
  return copiedProgram(root, TOOL_PATHS[tool], loader);
}

/** What a tool's process needs in its environment: Python looks for its library where it was built to be. */
export function toolEnvironment({ root }: Pick<ToolsSupply, "root">): Readonly<Record<string, string>> {
  return { PYTHONHOME: join(root, "usr"), PYTHONDONTWRITEBYTECODE: "1", LC_ALL: "C.UTF-8" };
}

async function versionOf(workshop: Workshop, root: string, loader: string, tool: DumpTool): Promise<string> {
  const { machine, signal } = workshop.context;
  const [args, wanted] = VERSIONS[tool];
  const [executable, words] = command(await toolProgram({ root, loader }, tool), ...args);
  const options = { purpose: `version of ${tool}`, limitSeconds: 30, signal, env: toolEnvironment({ root }) };
  const { stdout, stderr } = await machine.run(executable, words, options);
  const version = wanted.exec(stdout + stderr)?.[1];
  if (version !== undefined) return version;
  throw new FetchError(`the fetched ${tool} does not run here: ${stderr.trim() || "it says no version"}`);
}
