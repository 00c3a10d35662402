import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { NEEDED_NODE, nodeRefusal } from "../../src/cli/node-version.ts";

async function read(file: string): Promise<string> {
  return await readFile(new URL(`../../${file}`, import.meta.url), "utf8");
}

describe("which Node is taken", () => {
  test.each(["20.19.0", "20.20.2", "22.0.0", "100.1.0"])("%s is", (version) => {
    expect(nodeRefusal(version)).toBeUndefined();
  });

  test.each(["18.20.4", "20.18.3", "20.9.0", "12.22.12"])(
    "%s is not, and both versions are named",
    (version) => {
      expect(nodeRefusal(version)).toMatch(
        new RegExp(
          `^This is Node ${version.replaceAll(".", "\\.")}, and kdump-hotplug needs 20\\.19 or newer: `,
        ),
      );
    },
  );
});

test("package.json and the Makefile ask for the same", async () => {
  const [major, minor] = NEEDED_NODE;
  expect(await read("package.json")).toContain(`"node": ">=${major}.${minor}"`);
  const makefile = await read("Makefile");
  expect(makefile).toContain(`Node ${major}.${minor} or newer`);
  expect(makefile).toContain(`major > ${major} || (major === ${major} && minor >= ${minor})`);
});
