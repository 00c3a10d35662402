import { describe, expect, test } from "vitest";
import { parseServiceConfig, ServiceConfigError } from "../../../src/keeper/service/config.ts";

const noX = (target: string): string | undefined => (target === "x" ? "expected qmp:PATH" : undefined);
const ok = (): undefined => undefined;
const parse = (value: unknown): unknown => parseServiceConfig(JSON.stringify(value), "/etc/k.json", ok);

describe("a configuration", () => {
  test("may have all that it can have", () => {
    const config = {
      targets: ["qmp:/run/guests/*.sock", "libvirt:db1"],
      listen: "127.0.0.1:9807",
      textfile: "/var/lib/node-exporter/kdump.prom",
      journal: { directory: "/var/lib/kdump-hotplug", maxBytes: 1 << 20, files: 5 },
      lookEverySeconds: 2.5,
    };
    expect(parse(config)).toEqual(config);
    expect(parse({ targets: [], listen: "[::1]:9807", journal: { directory: "/j" } })).toEqual({
      targets: [],
      listen: "[::1]:9807",
      journal: { directory: "/j" },
    });
  });

  test.each([
    [{}, "/etc/k.json: targets: it is missing"],
    [{ targets: "qmp:/a" }, "/etc/k.json: targets: expected a list of TARGETs"],
    [
      { targets: ["qmp:/a", 7] },
      '/etc/k.json: targets[1]: expected a TARGET such as "qmp:/run/guests/*.sock"',
    ],
    [
      { targets: [], target: [] },
      "/etc/k.json: target: there is no such field; expected an object with targets, listen, textfile, journal, lookEverySeconds",
    ],
    [{ targets: [], listen: "9807" }, '/etc/k.json: listen: expected HOST:PORT such as "127.0.0.1:9807"'],
    [
      { targets: [], textfile: "k.prom" },
      '/etc/k.json: textfile: expected an absolute path such as "/var/lib/kdump-hotplug"',
    ],
    [{ targets: [], journal: {} }, "/etc/k.json: journal.directory: it is missing"],
    [
      { targets: [], journal: { directory: "/j", files: 0 } },
      "/etc/k.json: journal.files: expected a whole number from 1 to 10000",
    ],
    [
      { targets: [], journal: { directory: "/j", size: 1 } },
      "/etc/k.json: journal.size: there is no such field; expected an object with directory, maxBytes, files",
    ],
    [
      { targets: [], lookEverySeconds: 0 },
      "/etc/k.json: lookEverySeconds: expected seconds from 0.1 to 3600",
    ],
    [
      7,
      "/etc/k.json: the whole: expected an object with targets, listen, textfile, journal, lookEverySeconds",
    ],
  ])("%j is refused with the field and what was expected", (value, words) => {
    expect(() => parse(value)).toThrow(new ServiceConfigError(words));
  });

  test("that is no JSON, or has two faults, or a target that is none, says so", () => {
    expect(() => parseServiceConfig("{", "/k", ok)).toThrow(/^\/k: it is no JSON: .+/);
    expect(() => parse({ targets: 1, listen: 2 })).toThrow(/targets: .*; listen: /);
    expect(() => parseServiceConfig('{"targets":["a","x"]}', "/k", noX)).toThrow(
      "/k: targets[1]: expected qmp:PATH",
    );
  });
});
