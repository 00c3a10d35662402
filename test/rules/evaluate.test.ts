import { describe, expect, test } from "vitest";
import { dialectOf } from "../../src/rules/dialect.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import { NOTHING_KNOWN, type World } from "../../src/rules/world.ts";
import { eventOf, outcome, ruleSet, runs } from "./samples.ts";
import { recordedProgram, RECORDINGS } from "./udevadm-252.ts";

/** Where the recordings were made. */
const RECORDED: World = {
  ...NOTHING_KNOWN,
  program: recordedProgram,
  fileMode: (path) => (path === "/etc/passwd" || path.endsWith("block_size_bytes") ? 0o100644 : null),
  constant: (name) => (name === "virt" ? "none" : undefined),
  readFile: () => null,
  database: () => null,
};

describe("udevadm test of systemd 252", () => {
  test.each(RECORDINGS)("says the same: $name", ({ rules, properties, run }) => {
    const found = outcome(rules.join("\n"), { version: 252, world: RECORDED });
    const set = [...found.changed].flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as const],
    );
    expect(Object.fromEntries(set)).toEqual(properties);
    expect(found.run.map(({ command }) => command)).toEqual(run);
  });
});

/** The match structure that the RFC quotes of RHEL 7. */
const RFC_RHEL7 = `
SUBSYSTEM=="cpu", ACTION=="add", GOTO="kdump_reload"
SUBSYSTEM=="cpu", ACTION=="remove", GOTO="kdump_reload"
SUBSYSTEM=="memory", ACTION=="online", GOTO="kdump_reload"
SUBSYSTEM=="memory", ACTION=="offline", GOTO="kdump_reload"

GOTO="kdump_reload_end"

LABEL="kdump_reload"

# If kdump is not loaded, calling "kdumpctl reload" will end up
RUN+="/bin/sh -c '/usr/bin/systemctl is-active kdump.service || exit 0; /usr/bin/systemd-run --quiet /usr/bin/kdumpctl reload'"

LABEL="kdump_reload_end"
`;

describe("the RFC's rules of RHEL 7", () => {
  test.each([
    ["online:memory40", 1],
    ["offline:memory40", 1],
    ["add:memory40", 0],
    ["remove:memory40", 0],
    ["add:cpu3", 1],
    ["remove:cpu3", 1],
    ["online:cpu3", 0],
    ["offline:cpu3", 0],
    ["bind:cpu3", 0],
  ])("on %s run %d commands", (event, count) => {
    expect(runs(RFC_RHEL7, { event, version: 219 }).length).toBe(count);
  });

  test("say of every line what became of it", () => {
    const { lines } = outcome(RFC_RHEL7, { version: 219 });
    expect(lines.map(({ result, line }) => [line.number, result])).toEqual([
      [2, "not-matched"],
      [3, "not-matched"],
      [4, "matched"],
      [5, "jumped-over"],
      [7, "jumped-over"],
      [9, "label"],
      [12, "matched"],
      [14, "label"],
    ]);
  });
});

describe("RuleSet", () => {
  test("jumps only within a file", () => {
    const set = RuleSet.parse(
      [
        { path: "a", text: 'GOTO="x"\nRUN+="/a1"' },
        { path: "b", text: 'RUN+="/b1"\nLABEL="x"\nRUN+="/b2"' },
      ],
      dialectOf(257),
    );
    expect(set.evaluate(eventOf("online:memory40")).run.map(({ command }) => command)).toEqual([
      "/a1",
      "/b1",
      "/b2",
    ]);
  });

  test("does not jump where only part of the line matched", () => {
    expect(runs('KERNEL=="cpu*", GOTO="x"\nRUN+="/a"\nLABEL="x"\nRUN+="/b"')).toEqual(["/a", "/b"]);
  });

  test("applies nothing of a line that did not match as a whole", () => {
    expect(outcome('ENV{a}="1", RESULT=="x", RUN+="/a"')).toMatchObject({ actions: [], run: [] });
  });

  test("carries properties from file to file", () => {
    const set = RuleSet.parse(
      [
        { path: "10", text: 'ENV{.p}="1"' },
        { path: "20", text: 'ENV{.p}=="1", RUN+="/a $env{.p}"' },
      ],
      dialectOf(257),
    );
    expect(set.evaluate(eventOf("online:memory40")).run.map(({ command }) => command)).toEqual(["/a 1"]);
  });

  test("evaluates a label in the middle of a line with matches", () => {
    const text = 'KERNEL=="memory40", GOTO="x"\nRUN+="/a"\nKERNEL=="cpu3", LABEL="x", RUN+="/b"\nRUN+="/c"';
    expect(runs(text)).toEqual(["/c"]);
  });

  test("keeps no trace of one event in the next", () => {
    const set = ruleSet('ENV{a}=="", ENV{a}="1", TAG+="t"\nTAG=="t", RUN+="/a"');
    const event = eventOf("online:memory40");
    expect(set.evaluate(event)).toEqual(set.evaluate(event));
    expect([...event.device.tags]).toEqual([]);
  });

  test("takes 20000 GOTOs in time that grows with their number", () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => `LABEL="l${i}", GOTO="l${i + 1}"`);
    const set = ruleSet([...lines, 'LABEL="l20000", RUN+="/a"', 'GOTO="l1"'].join("\n"));
    expect(set.evaluate(eventOf("online:memory40")).run.length).toBe(1);
    expect(set.explain(eventOf("online:memory40")).lines.length).toBe(20_001);
  });
});
