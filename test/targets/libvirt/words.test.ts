import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { runtimeDirectory, virshEnvironment } from "../../../src/targets/libvirt/environment.ts";
import { EventLineError, parseEventLine } from "../../../src/targets/libvirt/event-line.ts";
import { errorLine, markIn, resultLine } from "../../../src/targets/libvirt/shell-output.ts";
import { plainJson, virshLine, VirshWordError } from "../../../src/targets/libvirt/words.ts";
import { splitWords } from "./fake-libvirt.ts";

describe("words for virsh", () => {
  it("arrive as they are", () => {
    const word = fc.string({ unit: fc.constantFrom(..."ab' \"\\;$|-é".split("")), minLength: 1 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), (words) => {
        expect(splitWords(virshLine(...words))).toEqual([words]);
      }),
    );
  });

  it("have no control characters, which readline would obey", () => {
    for (const text of ["a\nb", "\t", "\u0000", "\u007f"])
      expect(() => virshLine(text)).toThrow(VirshWordError);
    expect(() => virshLine("a\nb")).toThrow("control character 0x0a");
  });

  it("are JSON in ASCII that says the same", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const plain = plainJson(text);
        expect(plain).toMatch(/^[\x20-\x26\x28-\x7e]*$/);
        expect(JSON.parse(plain)).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe("what virsh prints", () => {
  it("is a result, or none", () => {
    expect(resultLine('{"return":{}}', "x")).toBe('{"return":{}}');
    // A virsh without readline echoes nothing: the prompts stand before the result.
    expect(resultLine('virsh # virsh # {"return":{}}', "x")).toBe('{"return":{}}');
    for (const line of [
      "",
      "  ",
      "virsh # ",
      "virsh # domid guest",
      "virsh > domid guest",
      "virsh # \r<e6789",
    ])
      expect(resultLine(line, "domid guest")).toBeUndefined();
  });

  it("is an error, an end mark, or of no concern", () => {
    expect(errorLine("error: failed to get domain 'x'")).toBe("failed to get domain 'x'");
    expect(
      errorLine("2026-11-29 06:00:00.000+0000: 12: error : virNetSocketReadWire:1791 : End of file"),
    ).toBeUndefined();
    expect(markIn("unknown command: 'kdump-hotplug-end-12'")).toBe(12);
    expect(markIn("unknown command: 'x'")).toBeUndefined();
  });

  it("is an event of the domain that was asked for", () => {
    const line = `event JOB at 1700000000.000012 for domain 'a': b': {"id":18446744073709551615}`;
    expect(parseEventLine(line, "a': b")).toEqual({
      event: "JOB",
      data: { id: 0xffff_ffff_ffff_ffffn },
      timestamp: { seconds: 1_700_000_000, microseconds: 12 },
    });
    for (const none of ["", "events received: 3", "event loop timed out", "Welcome"])
      expect(parseEventLine(none, "a")).toBeUndefined();
    for (const bad of [
      "event A at 1.5 for domain 'a': <null>",
      "event A at 1.000005 for domain 'b': <null>",
      line,
    ])
      expect(() => parseEventLine(bad, "a")).toThrow(EventLineError);
  });
});

describe("virsh's environment", () => {
  it("starts no libvirt, keeps no history, speaks English, and finds the same sockets", () => {
    const env = {
      HOME: "/home/u",
      PATH: "/bin",
      LANG: "de_DE",
      VIRSH_DEBUG: "0",
      LIBVIRT_DEFAULT_URI: "qemu:///x",
    };
    expect(virshEnvironment(env)).toMatchObject({
      PATH: "/bin",
      LIBVIRT_DEFAULT_URI: "qemu:///x",
      LIBVIRT_AUTOSTART: "0",
      LC_ALL: "C.UTF-8",
      XDG_CACHE_HOME: "/dev/null",
      XDG_RUNTIME_DIR: "/home/u/.cache",
    });
    expect(virshEnvironment(env)).not.toHaveProperty("VIRSH_DEBUG");
    expect(runtimeDirectory({ ...env, XDG_CACHE_HOME: "/c" })).toBe("/c");
    expect(runtimeDirectory({ ...env, XDG_RUNTIME_DIR: "/run/user/1" })).toBe("/run/user/1");
  });
});
