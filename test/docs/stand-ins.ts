/** What stands in for the machines, files and directories that documents name, so that their commands can be run. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEBIAN } from "../../src/rules/policies/debian.ts";
import { RHEL8 } from "../../src/rules/policies/rhel.ts";
import { ended } from "../cli/ended.ts";
import { machineOf } from "../simulation/sim.ts";
import { copyMachine, TempTree } from "../targets/local/simulated-tree.ts";
import { ROOT } from "./documents.ts";

/** A guest with a DIMM that its header lacks, small enough to be scanned in no time. */
export const GUEST = "sim:6.1,ram=256M,crash=16M,possible=4,dimm=128M";

/** Everything that commands of documents may name. */
export class StandIns implements AsyncDisposable {
  readonly directory: string;
  readonly #tree: TempTree;

  private constructor(directory: string, tree: TempTree) {
    this.directory = directory;
    this.#tree = tree;
  }

  static async make(): Promise<StandIns> {
    const made = new StandIns(await mkdtemp(join(tmpdir(), "kdh-docs-")), await TempTree.make());
    await copyMachine(machineOf("6.1,load=kexec_load,dimm=128M"), made.#tree);
    await made.#tree.write(`usr/lib/udev/rules.d/${RHEL8.fileName}`, RHEL8.text);
    await mkdir(join(made.directory, "rules.d"));
    await writeFile(join(made.directory, "rules.d", DEBIAN.fileName), DEBIAN.text);
    await writeFile(join(made.directory, "keep.json"), JSON.stringify({ targets: [GUEST] }));
    const journaled = await ended("keep", "--once", "--journal", made.journal, GUEST);
    if (journaled.code !== 0) throw new Error(journaled.stderr);
    return made;
  }

  /** A journal that tells of {@link GUEST}. */
  get journal(): string {
    return join(this.directory, "journal");
  }

  /** A directory of rules, those of Debian. */
  get rules(): string {
    return join(this.directory, "rules.d");
  }

  /** The root of another system, with /proc, /sys and the rules of RHEL 8. */
  get root(): string {
    return this.#tree.root;
  }

  /** Writes a scenario that a document shows. */
  async scenario(text: string): Promise<string> {
    const path = join(this.directory, "scenario.json");
    await writeFile(path, text);
    return path;
  }

  /** The arguments with what is here in place of what is named there. */
  async replace(args: readonly string[], scenario: string | undefined): Promise<readonly string[]> {
    const [command, second] = args;
    const replaced: string[] = [];
    for (const [i, arg] of args.entries())
      replaced.push(...(await this.#word(arg, args[i - 1], command, scenario)));
    const has = (option: string): boolean => args.includes(option);
    if (
      second === "local" &&
      (command === "audit" || command === "inspect" || has("--install") || has("--uninstall"))
    )
      replaced.push(...(has("--root") ? [] : ["--root", this.root]));
    if (
      command === "rules" &&
      !has("--help") &&
      !has("--rules-dir") &&
      !has("--root") &&
      !args.some((arg) => arg.endsWith(".rules"))
    )
      replaced.push("--rules-dir", this.rules);
    if (command === "journal" && !has("--directory") && !has("--help"))
      replaced.push("--directory", this.journal);
    return replaced;
  }

  async #word(
    arg: string,
    before: string | undefined,
    command: string | undefined,
    scenario: string | undefined,
  ): Promise<readonly string[]> {
    if (arg.startsWith("qmp:") || arg.startsWith("libvirt:")) return [GUEST];
    switch (before) {
      case "--root":
        return [this.root];
      case "--rules-dir":
        return [this.rules];
      case "--directory":
      case "--journal":
        return [this.journal];
      case "--config":
        return [join(this.directory, "keep.json")];
      case "--textfile":
      case "--svg":
      case "--report":
        return [join(this.directory, "written")];
      case "--listen":
        return ["127.0.0.1:0"];
      // So many are for whoever wants figures.
      case "--sweep":
      case "--panics":
        return ["2"];
    }
    if (arg === "DEVICE..." || arg === "DEVICE" || (command === "unplug" && /^(?:kdh|dimm|mem)/.test(arg)))
      return ["dimm0"];
    if (arg.endsWith(".rules")) return [join(this.rules, DEBIAN.fileName)];
    if (command === "simulate" && arg.endsWith(".json")) return [scenario ?? "no document shows it"];
    if (command === "inspect" && /^(?:[A-Z]|.*(?:vmcore|\.bin)$)/.test(arg) && !arg.startsWith("test/"))
      return [join(ROOT, "test/elfcore/golden/kernel-6.6-base.bin")];
    if (arg.startsWith("test/") || arg.startsWith("docs/")) return await files(join(ROOT, arg));
    if (command === "lab" && arg.endsWith(".jsonl"))
      return await files(join(ROOT, "docs/campaign-2026-11-28/*.jsonl"));
    return [arg];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tree[Symbol.asyncDispose]();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** What `PATH/*.SUFFIX` stands for in a shell. */
async function files(path: string): Promise<readonly string[]> {
  const [directory, suffix] = path.split("/*");
  if (suffix === undefined) return [path];
  const names = await readdir(directory!);
  return names.filter((name) => name.endsWith(suffix)).map((name) => join(directory!, name));
}
