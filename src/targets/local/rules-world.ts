/** What a machine's files answer to its udev rules. */
import type { ReadTree } from "../../layout/sysfs.ts";
import { NOTHING_KNOWN, type ProgramResult, type World } from "../../rules/world.ts";

/** Files that distributions' rules read with `cat`. */
const ASKED = [
  "/sys/kernel/kexec_crash_loaded",
  "/sys/kernel/kexec/crash_loaded",
  "/sys/devices/system/memory/crash_hotplug",
  "/sys/devices/system/cpu/crash_hotplug",
];

/** What rules ask, where the files tell: programs are never run. Only x86-64 is understood, here as everywhere. */
export async function readWorld(tree: ReadTree): Promise<World> {
  const results = new Map<string, ProgramResult>();
  for (const path of ASKED) {
    const stdout = await tree.readText(path);
    results.set(`cat ${path}`, stdout === undefined ? { exit: 1, stdout: "" } : { exit: 0, stdout });
  }
  for (const option of ["-m", "-p", "-i"]) results.set(`uname ${option}`, { exit: 0, stdout: "x86_64\n" });
  const commandLine = await tree.readText("/proc/cmdline");
  const words = new Map(
    (commandLine?.trim().split(/\s+/) ?? []).map((word) => {
      const [name = "", ...value] = word.split("=");
      return [name, value.join("=")] as const;
    }),
  );
  return {
    ...NOTHING_KNOWN,
    program: (command) =>
      results.get(
        command
          .trim()
          .replace(/^\S*\//, "")
          .replaceAll(/\s+/g, " "),
      ),
    constant: (name) => (name === "arch" ? "x86-64" : undefined),
    commandLine: (name) => (commandLine === undefined ? undefined : (words.get(name) ?? null)),
  };
}
