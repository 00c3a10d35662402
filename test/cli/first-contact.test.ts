/** What somebody types in the first ten minutes, and whether the answer says what was found, what was expected, what to do. */
import { describe, expect, test } from "vitest";
import { ended } from "./ended.ts";

describe("a command line that cannot be understood names the help that tells more", () => {
  test.each([
    [["frobnicate"], /unknown command 'frobnicate'\nSee kdump-hotplug --help\n$/],
    [["aduit", "local"], /Did you mean audit\?\)\nSee kdump-hotplug --help\n$/],
    [["audit", "--frobnicate"], /unknown option '--frobnicate'\nSee kdump-hotplug audit --help\n$/],
    [["plug"], /missing required argument 'target'\nSee kdump-hotplug plug --help\n$/],
    [["lab", "run", "--dimm", "1"], /See kdump-hotplug lab run --help\n$/],
    [["audit"], /'target' \(or --all\): qmp:PATH .*, libvirt:DOMAIN, .*\nSee kdump-hotplug audit --help\n$/],
    [["keep"], /'target' \(or --config FILE\): qmp:PATH .*\nSee kdump-hotplug keep --help\n$/],
  ])("%j", async (args, words) => {
    const { code, stderr } = await ended(...args);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
  });
});

describe("what is not there is said in words, with what could be given", () => {
  test.each([
    [
      ["audit", "/run/a.sock"],
      /"\/run\/a\.sock" as a target: a QMP socket is qmp:\/run\/a\.sock, a file is for inspect;/,
    ],
    [["audit", "guest"], /"guest" as a target: expected qmp:PATH/],
    [
      ["simulate", "./no.json"],
      /^Cannot read \.\/no\.json: it is not there; give a scenario file, or the name of one that is built in\n$/,
    ],
    [["keep", "--config", "/no"], /^Cannot read \/no: it is not there; give a configuration of keep\n$/],
    [["keep", "--config", "/"], /^Cannot read \/: it is a directory; give a configuration of keep\n$/],
    [["audit", "--all", "--config", "/no"], /^Cannot read \/no: it is not there/],
  ])("%j", async (args, words) => {
    const { code, stderr } = await ended(...args);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(words) });
  });

  test("rules", async () => {
    const { code, stderr } = await ended("rules", "check", "--rules-dir", "/no");
    expect({ code, stderr }).toEqual({
      code: 3,
      stderr:
        "No rules were found in /no: name files of rules, or another place with --rules-dir or --root\n",
    });
  });
});
