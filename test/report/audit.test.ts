import { describe, expect, it } from "vitest";
import { programHeaderRoom } from "../../src/elfcore/header.ts";
import type { CaptureImage } from "../../src/image/locate.ts";
import type { Audit } from "../../src/keeper/audit.ts";
import { RangeSet } from "../../src/layout/range-set.ts";
import { auditJson, auditText, reconciledJson, reconciledText } from "../../src/report/audit.ts";
import { headerText } from "../../src/report/header.ts";
import { fileJson, fileText, machineJson, machineText } from "../../src/report/inspect.ts";
import { pluggedJson, pluggedText, plugWarningsText } from "../../src/report/plug.ts";
import { sample } from "../elfcore/samples.ts";

const image: CaptureImage = {
  headerAddress: 0x2f00_0000n,
  headerCapacity: 4096,
  header: sample,
  vmcoreinfo: { address: 0x1_052f_0000n, release: "6.1.0\u001b[2J", entries: new Map() },
  crashMemory: RangeSet.of([{ start: 0x2f00_0000n, end: 0x3f00_0000n }]),
  loaded: "yes",
  kernel: undefined,
  kimage: undefined,
  digest: { state: "not-found" },
  commandLine: { address: 0x2f10_0000n, text: "quiet \u0007 elfcorehdr=0x2f000000" },
  usedCpuNote: undefined,
  possibleCpus: { state: "unknown", reason: "no kernel was found" },
};

const audit: Audit = {
  verdict: "inaccurate",
  reason: "A dump would lack 0x100000000-0x140000000 (1 GiB)",
  image,
  layout: { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined },
  missing: RangeSet.of([{ start: 1n << 32n, end: (1n << 32n) + (1n << 30n) }]),
  stale: RangeSet.empty,
  cpus: {
    present: 3,
    described: 2,
    possible: undefined,
    missing: ["/machine/peripheral/cpu\n2"],
    undescribed: [],
    unknown: "nobody\u0007 knows",
  },
  warnings: ["The digest was not found"],
};
const notLoaded: Audit = {
  ...audit,
  verdict: "not-loaded",
  reason: "No crash memory",
  image: undefined,
  warnings: [],
};

/** Text for a terminal: lines of printable ASCII. */
const PRINTABLE = /^(?:[\x20-\x7e]*\n)+$/;

describe("an audit", () => {
  it("as text begins with target and verdict, and shows what is missing", () => {
    const text = auditText("qmp:/run/a\u001bb", audit);
    expect(text).toMatch(/^qmp:\/run\/a\\u001bb: inaccurate\n {2}A dump would lack/);
    expect(text).toMatch(/memory missing +0x100000000-0x140000000/);
    expect(text).toMatch(/CPUs missing +1 of/);
    expect(text).toContain("  warning: The digest was not found\n");
    expect(text).toMatch(PRINTABLE);
  });

  it("as text of a machine without an image is two lines", () => {
    const nothing = {
      ...notLoaded,
      missing: RangeSet.empty,
      cpus: { ...audit.cpus, described: 0, missing: [] },
    };
    expect(auditText("qmp:/x", nothing)).toBe("qmp:/x: not-loaded\n  No crash memory\n");
  });

  it("as JSON has the documented fields and survives JSON.stringify", () => {
    const json: unknown = JSON.parse(JSON.stringify(auditJson("qmp:/x", audit)));
    expect(json).toMatchObject({
      schemaVersion: 1,
      target: "qmp:/x",
      verdict: "inaccurate",
      image: {
        state: "loaded",
        headerAddress: "0x2f000000",
        headerCapacity: 4096,
        programHeaders: sample.programHeaders.length,
        digest: "not-found",
      },
      memory: { missing: [{ start: "0x100000000", end: "0x140000000", bytes: 2 ** 30 }], stale: [] },
      cpus: { missing: ["/machine/peripheral/cpu\n2"] },
    });
    expect(auditJson("qmp:/x", notLoaded)).toMatchObject({ image: null });
  });
});

describe("what keep did", () => {
  const after: Audit = { ...audit, verdict: "accurate", reason: "True", missing: RangeSet.empty };
  const write = {
    what: "header",
    address: 0x2f00_0000n,
    before: new Uint8Array(512),
    after: new Uint8Array(512),
  } as const;

  it("is told with the bytes written and the pause", () => {
    const installed = { writes: [write], pauseMicroseconds: 1234 };
    const text = reconciledText("qmp:/x", { before: audit, after, installed });
    expect(text).toMatch(
      /^qmp:\/x: was inaccurate \(.*\)\n {2}installed: header, 512 bytes; .* for 1\.2 ms\n/,
    );
    expect(text).toContain("qmp:/x: accurate\n");
    expect(reconciledJson("qmp:/x", { before: audit, after, installed })).toMatchObject({
      verdict: "accurate",
      before: { verdict: "inaccurate" },
      installed: { pauseMicroseconds: 1234, writes: [{ what: "header", address: "0x2f000000", bytes: 512 }] },
    });
  });

  it("of a paused guest is told without a pause", () => {
    const installed = { writes: [write], pauseMicroseconds: undefined };
    expect(reconciledText("qmp:/x", { before: audit, after, installed })).toContain("stood still already");
    expect(reconciledJson("qmp:/x", { before: audit, after, installed })).toMatchObject({
      installed: { pauseMicroseconds: null },
    });
  });

  it("is an audit where nothing was done", () => {
    const nothing = { before: after, after, installed: undefined };
    expect(reconciledText("qmp:/x", nothing)).toBe(auditText("qmp:/x", after));
    expect(reconciledJson("qmp:/x", nothing)).toMatchObject({ installed: null });
  });
});

describe("a header", () => {
  it("is shown one program header per line, by what it is", () => {
    const lines = headerText(sample).trimEnd().split("\n");
    expect(lines).toHaveLength(1 + sample.programHeaders.length);
    expect(lines.map((line) => line.trim().split(/\s+/)[1])).toEqual([
      "start",
      "cpu-note",
      "cpu-note",
      "vmcoreinfo-note",
      "kernel-text",
      "backup",
      "ram",
      "ram",
    ]);
    expect(programHeaderRoom(4096)).toBe(72);
  });

  it("of a machine is shown with its image, or the reason why there is none", () => {
    expect(machineText("qmp:/x", audit)).toMatch(PRINTABLE);
    expect(machineText("qmp:/x", audit)).toContain("quiet \\u0007 elfcorehdr=0x2f000000");
    expect(machineJson("qmp:/x", audit)).toMatchObject({
      image: { headers: [{ kind: "cpu-note" }, {}, {}, {}, {}, {}, {}] },
    });
    expect(machineText("qmp:/x", notLoaded)).toBe("qmp:/x: No crash memory\n");
    expect(machineJson("qmp:/x", notLoaded)).toMatchObject({ reason: "No crash memory", image: null });
  });

  it("of a file is shown with the kind of file", () => {
    expect(fileText("/x", { kind: "vmcore", header: sample })).toMatch(/^\/x\n {2}file {2}a vmcore\n/);
    const { crashMemory, headerAddress, digest, commandLine } = image;
    const copy = {
      kind: "crash-memory",
      header: sample,
      crashMemory,
      headerAddress,
      digest,
      commandLine: commandLine!,
    } as const;
    expect(fileText("/x", copy)).toMatch(PRINTABLE);
    expect(fileJson("/x", copy)).toMatchObject({
      kind: "crash-memory",
      headerAddress: "0x2f000000",
      digest: "not-found",
    });
    expect(() => JSON.stringify(fileJson("/x", copy))).not.toThrow();
  });
});

describe("a plugged DIMM", () => {
  const dimm = { id: "kdh-mem0", size: 1n << 30n, pauseMicroseconds: 2000, described: true, after: audit };

  it("is told in one line", () => {
    expect(pluggedText(dimm)).toBe(
      "kdh-mem0: 1 GiB plugged, the guest stood still for 2.0 ms; the header is inaccurate\n",
    );
    expect(pluggedText({ ...dimm, pauseMicroseconds: undefined })).toBe(
      "kdh-mem0: 1 GiB plugged; the header is inaccurate\n",
    );
  });

  it("is told of too where it could not be looked at afterwards", () => {
    expect(pluggedText({ id: "kdh-mem1", size: 1n << 27n, described: true, after: undefined })).toBe(
      "kdh-mem1: 128 MiB plugged; the header was written, and not looked at again\n",
    );
    expect(pluggedText({ id: "kdh-mem1", size: 1n << 27n, described: false, after: undefined })).toBe(
      "kdh-mem1: 128 MiB plugged; the header may not describe it\n",
    );
  });

  it("does not hide what would spoil the dump", () => {
    expect(plugWarningsText([dimm, { ...dimm, after: undefined }])).toBe(
      "  warning: The digest was not found\n",
    );
    expect(plugWarningsText([])).toBe("");
    expect(pluggedJson("qmp:/x", [dimm])).toMatchObject({
      after: { warnings: ["The digest was not found"] },
    });
  });

  it("is listed in JSON with the state after the last one", () => {
    expect(pluggedJson("qmp:/x", [dimm, dimm])).toMatchObject({
      schemaVersion: 1,
      plugged: [{ id: "kdh-mem0", bytes: 2 ** 30, pauseMicroseconds: 2000 }, {}],
      after: { verdict: "inaccurate" },
    });
    expect(pluggedJson("qmp:/x", [])).toMatchObject({ plugged: [], after: null });
  });
});
