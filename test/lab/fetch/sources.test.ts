import { describe, expect, test } from "vitest";
import { parseDeb822Sources, parseOneLineSources, SourcesError } from "../../../src/lab/fetch/sources.ts";

const FILE = "/etc/apt/sources.list";

const one = (line: string): unknown => {
  const [source] = parseOneLineSources(line, FILE);
  return source && { ...source, options: Object.fromEntries(source.options) };
};

const stanza = (types: string): string =>
  `Enabled: yes\nTypes: ${types}\nURIs: http://a.example\nSuites: x\n`;

describe("one-line sources", () => {
  test("reads URI, suite and components", () => {
    expect(one("deb http://archive.example/debian bookworm main contrib")).toEqual({
      origin: `${FILE}:1`,
      uris: ["http://archive.example/debian"],
      suites: ["bookworm"],
      components: ["main", "contrib"],
      options: {},
    });
  });

  test("reads options in brackets, with blanks around them and additions", () => {
    const line =
      "deb [ arch=amd64,arm64 Signed-By=/k/a.gpg trusted=yes arch+=i386 ] http://archive.example/d b main";
    expect(one(line)).toMatchObject({
      uris: ["http://archive.example/d"],
      options: {
        architectures: "amd64,arm64",
        "signed-by": "/k/a.gpg",
        trusted: "yes",
        "architectures-add": "i386",
      },
    });
  });

  test("keeps the blanks in a cdrom's label together", () => {
    expect(one("deb cdrom:[Debian 12 _Bookworm_]/ bookworm main")).toMatchObject({
      uris: ["cdrom:[Debian 12 _Bookworm_]/"],
      suites: ["bookworm"],
    });
  });

  test("leaves out comments, empty lines, trailing comments and deb-src", () => {
    const text =
      "# deb http://a.example x main\n\n\tdeb http://b.example y main # z\ndeb-src http://b.example y main\n";
    expect(parseOneLineSources(text, FILE)).toMatchObject([
      { origin: `${FILE}:3`, uris: ["http://b.example"], suites: ["y"], components: ["main"] },
    ]);
  });

  test.each([
    ["rpm http://a.example x", 'found "rpm"'],
    ["deb", "expected"],
    ["deb http://a.example", "expected a URI and a suite"],
    ["deb [arch] http://a.example x main", "expected option=value"],
  ])("refuses %j", (line, message) => {
    expect(() => parseOneLineSources(line, FILE)).toThrow(SourcesError);
    expect(() => parseOneLineSources(line, FILE)).toThrow(message);
  });
});

describe("deb822 sources", () => {
  test("reads several URIs and suites, comments within, continuation lines, and names in any case", () => {
    const text = [
      "# a comment before",
      "types: deb deb-src",
      "URIs: http://archive.example/debian http://mirror.example/debian",
      "# a comment within",
      "SUITES: bookworm",
      " bookworm-updates",
      "Components: main",
      "Signed-By:",
      " -----BEGIN PGP PUBLIC KEY BLOCK-----",
      " .",
      " mQINB",
      "",
      "Types: deb",
      "URIs: http://other.example",
      "Suites: x/",
    ].join("\n");
    const [first, second] = parseDeb822Sources(text, FILE);
    expect(first).toMatchObject({
      origin: `${FILE}:2`,
      uris: ["http://archive.example/debian", "http://mirror.example/debian"],
      suites: ["bookworm", "bookworm-updates"],
      components: ["main"],
    });
    expect(first?.options.get("signed-by")).toBe("\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINB");
    expect(second).toMatchObject({ suites: ["x/"], components: [] });
  });

  test.each(["no", "No", "false", "0", "off", "without", "disable"])(
    "leaves out a stanza with Enabled: %s",
    (value) => {
      const text = `Enabled: ${value}\nTypes: deb\nURIs: http://a.example\nSuites: x\n`;
      expect(parseDeb822Sources(text, FILE)).toEqual([]);
    },
  );

  test("takes a stanza with Enabled: yes, and leaves out one of deb-src only", () => {
    expect(parseDeb822Sources(stanza("deb"), FILE)).toHaveLength(1);
    expect(parseDeb822Sources(stanza("deb-src"), FILE)).toHaveLength(0);
  });

  test.each([
    ["Types: deb\nURIs: http://a.example\n", "URIs and Suites"],
    ["Types: deb\nno field\n", "Field: value"],
    [" continued: nothing\n", "continues nothing"],
  ])("refuses %j", (text, message) => {
    expect(() => parseDeb822Sources(text, FILE)).toThrow(message);
  });
});
