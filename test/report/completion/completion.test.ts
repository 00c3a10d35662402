/** Completion, in the shells themselves, of a script that the program prints. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ended } from "../../cli/ended.ts";
import { lacking, type Shell, SHELLS } from "./shells.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-completion-"));
  await mkdir(join(directory, "guests"));
  await writeFile(join(directory, "guests/one.sock"), "");
  await writeFile(join(directory, "vmcore-header"), "");
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Lines, and one thing that stands for their last word. Each has one answer only, so that zsh's Tab puts it there. */
const CASES = [
  ["kdump-hotplug insp", "inspect"],
  ["kdump-hotplug lab camp", "campaign"],
  ["kdump-hotplug audit --nag", "--nagios"],
  ["kdump-hotplug lab run --load kexec_f", "kexec_file_load"],
  // Choices of an option that may be repeated are not commander's own.
  ["kdump-hotplug lab matrix --change one-c", "one-cpu"],
  ["kdump-hotplug lab run --dimms 4 --acc", "--accel"],
  ["kdump-hotplug completion ba", "bash"],
  ["kdump-hotplug keep loc", "local"],
  ["kdump-hotplug inspect vmc", "vmcore-header"],
  ["kdump-hotplug rules check vmc", "vmcore-header"],
  ["kdump-hotplug audit --root gue", "guests/"],
] as const;

/** What a shell makes of a line, with the script that the program prints for it. */
async function answers(shell: Shell, line: string): Promise<readonly string[]> {
  // zsh finds a function by its file's name.
  const file = shell.name === "zsh" ? "_kdump-hotplug" : `kdump-hotplug.${shell.name}`;
  const script = join(directory, shell.name, file);
  await mkdir(join(script, ".."), { recursive: true });
  await writeFile(script, (await ended("completion", shell.name)).stdout);
  return await shell.ask(script, line, directory);
}

/** Each shell, and why it cannot be asked. */
const ASKED = await Promise.all(
  SHELLS.map(async (shell) => {
    const reason = await lacking(shell);
    return { shell, name: shell.name, reason, skipped: reason === undefined ? "" : ` (skipped: ${reason})` };
  }),
);

describe.each(ASKED)("$name$skipped", ({ shell, reason }) => {
  test.skipIf(reason).each(CASES)(
    "%s becomes %s",
    async (line, word) => {
      // What each shell puts behind it (a space, a slash, the = of an option) is its own way.
      const found = (await answers(shell, line)).map((each) => each.replace(/[ /=]+$/, ""));
      expect(found).toHaveLength(1);
      const wanted = word.replace(/\/$/, "");
      expect([wanted, line.replace(/\S+$/, wanted)]).toContain(found[0]);
    },
    60_000,
  );

  test.skipIf(reason)("a guest's socket is found behind qmp:", async () => {
    const [found, ...more] = await answers(shell, "kdump-hotplug audit qmp:guests/o");
    expect(more).toEqual([]);
    expect(found).toMatch(/(?:^|qmp:)guests\/one\.sock ?$/);
  });
});

/** zsh is asked by its Tab, which shows one answer. */
describe.each(ASKED.filter(({ name }) => name !== "zsh"))(
  "$name$skipped, all answers",
  ({ shell, reason }) => {
    test.skipIf(reason)("a command's name elsewhere is no command", async () => {
      expect(await answers(shell, "kdump-hotplug --")).toEqual(
        expect.arrayContaining(["--help", "--version"]),
      );
      expect(await answers(shell, "kdump-hotplug journal --target audit --na")).toEqual([]);
      expect(await answers(shell, "kdump-hotplug keep ")).toEqual(
        expect.arrayContaining(["libvirt:", "local", "qmp:", "sim:6.1"]),
      );
    });
  },
);
