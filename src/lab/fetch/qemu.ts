/** QEMU on this machine: which one runs, and how a newer one is installed. */
import { access, realpath } from "node:fs/promises";
import type { PrivateApt } from "./apt.ts";
import { aptTrouble } from "./apt.ts";
import { FetchError } from "./errors.ts";
import { findProgram, type Machine } from "./machine.ts";
import type { FetchContext, Workshop } from "./workshop.ts";

/** A QEMU that runs. */
export interface QemuSupply {
  readonly path: string;
  /** `10.0.2`. */
  readonly version: string;
}

const PROGRAM = "qemu-system-x86_64";
const PACKAGE = "qemu-system-x86";

/**
 * Below this a newer one is looked for: 7.2 crashes 6.12 guests at random under TCG (3 of 24 boots), 10.0 does
 * not, and migration to a file needs 8.2.
 */
const WANTED: readonly [major: number, minor: number] = [8, 2];

/**
 * Asks a QEMU for its version.
 *
 * @throws {FetchError} where it is no QEMU that runs.
 */
export async function probeQemu(context: FetchContext, path: string): Promise<QemuSupply> {
  if (!(await isThere(path))) throw new FetchError(`there is no file ${path}`);
  const options = { purpose: `${path} --version`, limitSeconds: 20, signal: context.signal };
  const { stdout, stderr } = await context.machine.run(path, ["--version"], options);
  const version = /^QEMU emulator version (\d+\.\d+(?:\.\d+)?)/m.exec(stdout)?.[1];
  if (version === undefined)
    throw new FetchError(`${path} is no QEMU that runs: ${stderr.trim() || "no version"}`);
  return { path, version };
}

/** The machine's QEMU, or undefined where it has none. */
export async function findQemu(context: FetchContext): Promise<QemuSupply | undefined> {
  const path = await findProgram(context.machine, PROGRAM);
  return path === undefined ? undefined : probeQemu(context, path);
}

/** Whether a version is one with which every kernel of the lab runs. */
export function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > WANTED[0] || (major === WANTED[0] && minor >= WANTED[1]);
}

/**
 * How programs are run as root: directly, or through sudo.
 *
 * @param packages what is to be installed, for the message.
 * @throws {FetchError} where neither is possible, with what to do by hand.
 */
export async function rootPrefix(
  context: FetchContext,
  packages: readonly string[] = [PACKAGE],
): Promise<readonly string[]> {
  const { machine, signal } = context;
  if (machine.uid === 0) return [];
  const byHand = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  const sudo = await findProgram(machine, "sudo");
  if (sudo === undefined)
    throw new FetchError(
      `it cannot be installed: this is not root, and there is no sudo; as root: ${byHand}`,
    );
  const options = { purpose: "sudo -n true", limitSeconds: 20, signal };
  if ((await machine.run(sudo, ["-n", "true"], options)).code === 0) return [sudo, "-n"];
  throw new FetchError(
    `it cannot be installed: this is not root, and sudo asks for a password, or refuses; give it one before (sudo -v), or: sudo ${byHand}`,
  );
}

/**
 * Installs the newest QEMU that the machine's own archive offers, its backports included, without recommended
 * packages. Does nothing where the newest is installed already.
 *
 * @param prefix from `rootPrefix`.
 * @returns whether something was installed.
 * @throws {FetchError} where the archive offers none, or apt fails.
 */
export async function installQemu(workshop: Workshop, prefix: readonly string[]): Promise<boolean> {
  const { machine, log } = workshop.context;
  const apt = await workshop.withBackports();
  const policy = parsePolicy(await apt.policy(PACKAGE));
  const newest = await newestOffer(workshop.context, policy.offers);
  if (newest === undefined)
    throw new FetchError(`the archive's ${workshop.own.codename} does not offer ${PACKAGE}`);
  if (
    policy.installed !== undefined &&
    !(await isNewer(workshop.context, newest.version, policy.installed))
  ) {
    return false;
  }
  log(`Installing ${PACKAGE} ${newest.version} of ${newest.suite}`);
  const result = await machine.run(...installCommand(apt, prefix, newest.suite), {
    purpose: `apt-get install ${PACKAGE}`,
    limitSeconds: 1800,
    signal: workshop.context.signal,
    // apt ends cleanly on the signal that Ctrl-C gives it; while dpkg runs it takes its time.
    stopSignal: "SIGINT",
    graceSeconds: 120,
  });
  if (result.code !== 0) throw new FetchError(`apt cannot install ${PACKAGE}: ${aptTrouble(result)}`);
  return true;
}

/**
 * The command that installs packages from a suite, QEMU unless told. Lists and sources are private; what is installed is the system's.
 *
 * @param simulate only say what would be done.
 */
export function installCommand(
  apt: PrivateApt,
  prefix: readonly string[],
  suite: string,
  simulate = false,
  packages: readonly string[] = [PACKAGE],
): readonly [command: string, args: readonly string[]] {
  const install = ["install", "--yes", "--no-install-recommends", "--target-release", suite, ...packages];
  const words = [
    ...prefix,
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    ...apt.arguments,
    // Another apt may be at work, unattended-upgrades for example.
    "-o",
    "DPkg::Lock::Timeout=300",
    ...(simulate ? ["--simulate"] : []),
    ...install,
  ];
  return [words[0] ?? "env", words.slice(1)];
}

/** One version that an archive offers. */
export interface Offer {
  readonly version: string;
  /** `bookworm-backports`. */
  readonly suite: string;
}

/** What `apt-cache policy` says of one package. */
export interface Policy {
  readonly installed: string | undefined;
  readonly offers: readonly Offer[];
}

/**
 * Reads `apt-cache policy PACKAGE`. Versions stand in the version table at an indentation of five (or behind
 * `***`), each followed by the places that have it; a place that is no archive (the dpkg status) offers nothing.
 */
export function parsePolicy(text: string): Policy {
  const installed = /^ {2}Installed: (\S+)$/m.exec(text)?.[1];
  const offers: Offer[] = [];
  let version: string | undefined;
  for (const line of text.split("\n")) {
    const head = /^ (?: {4}|\*\*\* )(\S+)(?: -?\d+)?$/.exec(line)?.[1];
    const suite = /^ {8,}-?\d+ \S+ (\S+)\/\S+ \S+ Packages$/.exec(line)?.[1];
    if (head !== undefined) version = head;
    else if (suite !== undefined && version !== undefined) offers.push({ version, suite });
  }
  return { installed: installed === "(none)" ? undefined : installed, offers };
}

async function newestOffer(context: FetchContext, offers: readonly Offer[]): Promise<Offer | undefined> {
  let newest: Offer | undefined;
  for (const offer of offers) {
    if (newest === undefined || (await isNewer(context, offer.version, newest.version))) newest = offer;
  }
  return newest;
}

async function isNewer(context: FetchContext, version: string, than: string): Promise<boolean> {
  const options = { purpose: "dpkg --compare-versions", limitSeconds: 20, signal: context.signal };
  return (await context.machine.run("dpkg", ["--compare-versions", version, "gt", than], options)).code === 0;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Whether a program is the one that Debian's package installs, not somebody's own build. */
export async function isPackaged(
  machine: Machine,
  path: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const real = await realpath(path);
  const options = { purpose: `dpkg --search ${real}`, limitSeconds: 20, signal };
  return (await machine.run("dpkg", ["--search", real], options)).code === 0;
}
