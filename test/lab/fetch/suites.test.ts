import { describe, expect, test } from "vitest";
import {
  changeSuite,
  ownSources,
  readOwnSources,
  renderForSuite,
  renderWithBackports,
} from "../../../src/lab/fetch/suites.ts";
import { parseDeb822Sources, parseOneLineSources } from "../../../src/lab/fetch/sources.ts";
import { FakeMachine } from "./fake-machine.ts";

const own = (text: string): ReturnType<typeof ownSources> =>
  ownSources(parseOneLineSources(text, "f"), "bookworm");

describe("the machine's own sources", () => {
  test.each([
    ["bookworm", "trixie"],
    ["bookworm-updates", "trixie-updates"],
    ["bookworm-security", "trixie-security"],
    ["bookworm/updates", "trixie-security"],
    ["cloud-sdk-bookworm", undefined],
    ["bookworm-backports", undefined],
    ["bookworm-pgdg", undefined],
    ["stable", undefined],
  ])("suite %s becomes %s", (suite, expected) => {
    expect(changeSuite(suite, "bookworm", "trixie")).toBe(expected);
  });

  test("are reduced to their own suites, component main and amd64", () => {
    const text = [
      "deb http://archive.example/debian bookworm main contrib",
      "deb http://vendor.example/apt cloud-sdk-bookworm main",
      "deb http://vendor.example/docker bookworm stable",
      "deb [arch=arm64] http://ports.example/debian bookworm main",
      "deb [arch=arm64,amd64] http://both.example/debian bookworm main",
      "deb cdrom:[Debian]/ bookworm main",
    ].join("\n");
    expect(own(text).map(({ uris }) => uris[0])).toEqual([
      "http://archive.example/debian",
      "http://both.example/debian",
    ]);
  });

  test("are written with another suite, their signature kept and nothing that weakens it", () => {
    const sources = own(
      "deb [trusted=yes allow-insecure=yes signed-by=/k.gpg lang=de] http://a.example bookworm main",
    );
    const text = renderForSuite({ codename: "bookworm", sources }, "trixie");
    expect(text).toBe(
      "Types: deb\nURIs: http://a.example\nSuites: trixie\nComponents: main\nArchitectures: amd64\nSigned-By: /k.gpg\n",
    );
  });

  test("keep a key that stands in the sources", () => {
    const key = "Signed-By:\n -----BEGIN\n .\n mQ";
    const text = `Types: deb\nURIs: http://a.example\nSuites: bookworm\nComponents: main\n${key}\n`;
    const sources = ownSources(parseDeb822Sources(text, "f"), "bookworm");
    const again = parseDeb822Sources(renderForSuite({ codename: "bookworm", sources }, "trixie"), "g");
    expect(again[0]?.options.get("signed-by")).toBe("\n -----BEGIN\n .\n mQ");
  });

  test("get backports where the main suite is, not where security is", () => {
    const sources = own("deb http://a.example bookworm main\ndeb http://s.example bookworm-security main");
    const written = parseDeb822Sources(renderWithBackports({ codename: "bookworm", sources }), "g");
    expect(written.map(({ uris, suites }) => [uris[0], suites[0]])).toEqual([
      ["http://a.example", "bookworm"],
      ["http://s.example", "bookworm-security"],
      ["http://a.example", "bookworm-backports"],
    ]);
  });
});

describe("reading them from a machine", () => {
  test("takes sources.list and the files of sources.list.d that apt itself reads", async () => {
    await using machine = await FakeMachine.create();
    await machine.write("etc/apt/sources.list", "deb http://one.example bookworm main\n");
    await machine.write("etc/apt/sources.list.d/vendor.list", "deb http://v.example vendor-bookworm main\n");
    await machine.write("etc/apt/sources.list.d/off.sources.disabled", "nonsense");
    const { codename, sources } = await readOwnSources(machine);
    expect(codename).toBe("bookworm");
    expect(sources.map(({ uris }) => uris[0])).toEqual([
      "http://one.example",
      "http://archive.example/debian",
    ]);
  });

  test("says which suite name it does not take", async () => {
    await using machine = await FakeMachine.create();
    await machine.write("etc/apt/sources.list.d/debian.sources", "");
    await machine.write("etc/apt/sources.list", "deb http://one.example stable main\n");
    await expect(readOwnSources(machine)).rejects.toThrow(
      /name no suite "bookworm".*"stable" in .*sources\.list:1/,
    );
  });

  test("says which line it cannot read", async () => {
    await using machine = await FakeMachine.create();
    await machine.write("etc/apt/sources.list", "\nnonsense\n");
    await expect(readOwnSources(machine)).rejects.toThrow(/sources\.list:2/);
  });

  test("refuses a machine that is not Debian", async () => {
    await using machine = await FakeMachine.create();
    await machine.write(
      "etc/os-release",
      'ID=ubuntu\nPRETTY_NAME="Ubuntu 24.04"\nVERSION_CODENAME=bookworm\n',
    );
    await expect(readOwnSources(machine)).rejects.toThrow(
      "this is Ubuntu 24.04, whose archive is not Debian's",
    );
  });

  test("refuses a Debian without a code name, and a machine that does not say what it is", async () => {
    await using machine = await FakeMachine.create();
    await machine.write("etc/os-release", "ID=debian\n");
    await expect(readOwnSources(machine)).rejects.toThrow("VERSION_CODENAME");
    await machine.write("etc/os-release", "");
    await expect(readOwnSources(machine)).rejects.toThrow("an unknown system");
  });
});
