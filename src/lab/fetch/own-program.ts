/** Our own built program, with the packages that it needs at run time and no others. */
import { existsSync } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { BUNDLE } from "../../bundle.ts";
import { FetchError } from "./errors.ts";
import type { SuppliedFile } from "./program.ts";

/** Where a guest has our program. */
export const OWN_PROGRAM_ROOT = "/opt/kdump-hotplug";
/** What is run there. */
export const OWN_PROGRAM_MAIN: string = `${OWN_PROGRAM_ROOT}/dist/cli/main.js`;

/** The directory of our package.json. */
const PACKAGE_ROOT = packageRoot(dirname(fileURLToPath(import.meta.url)));

const names = v.optional(v.record(v.string(), v.string()), {});
const PackageSchema = v.object({ dependencies: names, optionalDependencies: names });

/**
 * Our package: package.json, `dist/`, and every package that those named under `dependencies` and
 * `optionalDependencies` lead to, found as Node finds them. What is optional and not installed is left out.
 *
 * @param root the directory of package.json, absolute.
 * @throws {FetchError} where it is not built, or a package is not installed.
 */
export async function ownProgram(root: string = PACKAGE_ROOT): Promise<readonly SuppliedFile[]> {
  if (BUNDLE)
    throw new FetchError(
      "guests with this program inside need it as many files, and this is the one of kdump-hotplug.mjs: run them from the npm package, the .deb or the sources",
    );
  const main = join(root, "dist/cli/main.js");
  if (!(await isThere(main)))
    throw new FetchError(`there is no ${main}, so there is no program for the guest: run "npm run build"`);
  const packages = new Map<string, string>();
  await addDependencies(packages, { directory: root, guestDirectory: OWN_PROGRAM_ROOT });
  const files: SuppliedFile[] = [
    { guestPath: `${OWN_PROGRAM_ROOT}/package.json`, hostPath: join(root, "package.json") },
    ...(await filesBelow(join(root, "dist"), `${OWN_PROGRAM_ROOT}/dist`)),
  ];
  for (const [guestDirectory, directory] of packages)
    files.push(...(await filesBelow(directory, guestDirectory)));
  return files;
}

/** One package, and where a guest has it. */
interface PackageAt {
  readonly directory: string;
  readonly guestDirectory: string;
}

/** Adds what `at` depends on to `packages`: directories on this machine by directories in a guest. */
async function addDependencies(packages: Map<string, string>, at: PackageAt): Promise<void> {
  const path = join(at.directory, "package.json");
  const { dependencies, optionalDependencies } = v.parse(
    PackageSchema,
    JSON.parse(await readFile(path, "utf8")),
  );
  // npm writes an optional dependency into both.
  const wanted = new Set([...Object.keys(dependencies), ...Object.keys(optionalDependencies)]);
  for (const name of wanted) {
    const found = await find(name, at);
    if (found === undefined) {
      if (name in optionalDependencies) continue;
      throw new FetchError(`${path} wants the package "${name}", which is not installed: run "npm ci"`);
    }
    if (packages.has(found.guestDirectory)) continue;
    packages.set(found.guestDirectory, found.directory);
    await addDependencies(packages, found);
  }
}

/**
 * Looks for a package from the one that wants it upwards. What lies outside of our own package (npm puts it beside us
 * where we are installed as a dependency) lies inside of it in a guest.
 */
async function find(name: string, { directory, guestDirectory }: PackageAt): Promise<PackageAt | undefined> {
  let [at, guest] = [directory, guestDirectory];
  for (;;) {
    const candidate = join(at, "node_modules", name);
    if (await isThere(join(candidate, "package.json")))
      return { directory: candidate, guestDirectory: `${guest}/node_modules/${name}` };
    if (at === dirname(at)) return undefined;
    at = dirname(at);
    if (guest !== OWN_PROGRAM_ROOT) guest = dirname(guest);
  }
}

/** Regular files, links followed, without the packages that npm has put inside: those are found by their names. */
async function filesBelow(directory: string, guestDirectory: string): Promise<readonly SuppliedFile[]> {
  const files: SuppliedFile[] = [];
  for (const name of (await readdir(directory)).sort()) {
    if (name === "node_modules") continue;
    const hostPath = await realpath(join(directory, name));
    const guestPath = `${guestDirectory}/${name}`;
    if ((await stat(hostPath)).isDirectory()) files.push(...(await filesBelow(hostPath, guestPath)));
    else files.push({ guestPath, hostPath });
  }
  return files;
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The directory with our package.json: this file lies at another depth where benchmarks are compiled. */
function packageRoot(directory: string): string {
  const above = dirname(directory);
  return existsSync(join(directory, "package.json")) || above === directory ? directory : packageRoot(above);
}
