/** What holds for any rules. */
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ALL_DIALECTS, dialectOf } from "../../src/rules/dialect.ts";
import { compileGlob } from "../../src/rules/glob.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import { parseRules } from "../../src/rules/parse.ts";
import { sortTokens } from "../../src/rules/token.ts";
import { verifyRules } from "../../src/rules/verify.ts";
import { eventOf } from "./samples.ts";

const dialects = fc.constantFrom(...ALL_DIALECTS);

const keys = fc.constantFrom(
  "ACTION",
  "DEVPATH",
  "KERNEL",
  "SYMLINK",
  "NAME",
  "ENV{a}",
  "ENV{b}",
  "CONST{virt}",
  "TAG",
  "SUBSYSTEM",
  "DRIVER",
  "ATTR{state}",
  "ATTR{$env{a}",
  "SYSCTL{a.b}",
  "KERNELS",
  "SUBSYSTEMS",
  "DRIVERS",
  "ATTRS{crash_hotplug}",
  "TAGS",
  "TEST",
  "PROGRAM",
  "IMPORT{program}",
  "IMPORT{parent}",
  "IMPORT{db}",
  "RESULT",
  "OPTIONS",
  "OWNER",
  "MODE",
  "SECLABEL{x}",
  "RUN",
  "RUN{builtin}",
  "GOTO",
  "LABEL",
  "FOO",
);
const values = fc.constantFrom(
  "",
  "?*",
  "online",
  "memory*",
  "memory|cpu",
  "|x",
  "x",
  "y",
  "1",
  "$kernel %c{1+}",
  "$env{",
  "kmod load",
  "string_escape=replace",
  "0660",
  "[memory/memory40]state",
);
const operators = fc.constantFrom("==", "!=", "=", "+=", "-=", ":=");
const pair = fc.tuple(keys, operators, values).map(([key, operator, value]) => `${key}${operator}"${value}"`);
const line = fc.array(pair, { minLength: 1, maxLength: 4 }).map((pairs) => pairs.join(", "));
const rules = fc.array(line, { maxLength: 12 }).map((lines) => lines.join("\n"));
/** Text made of what rules are made of. */
const noise = fc.string({
  unit: fc.constantFrom(...'AE{}="\\\n#,+:!-$%|*?[]ei x\r\t\u00e9'.split("")),
  maxLength: 200,
});
const events = fc.constantFrom(
  "add:memory40",
  "online:memory40",
  "remove:memory40",
  "add:cpu3",
  "add@/devices/x",
);

describe("any text", () => {
  test("is parsed, compiled and evaluated without an error", () => {
    fc.assert(
      fc.property(fc.oneof(noise, rules, fc.string()), dialects, events, (text, dialect, event) => {
        const set = RuleSet.parse([{ path: "f", text }], dialect);
        const physical = text.split(/[\n\r]/).length;
        for (const file of set.files) {
          for (const { line: at } of [...file.diagnostics, ...verifyRules(file)])
            expect(at).toBeLessThanOrEqual(physical);
        }
        set.explain(eventOf(event));
      }),
      { numRuns: 500 },
    );
  });
});

describe("any rules", () => {
  test("come to the same with and without reasons", () => {
    fc.assert(
      fc.property(rules, dialects, events, (text, dialect, spec) => {
        const set = RuleSet.parse([{ path: "f", text }], dialect);
        const event = eventOf(spec);
        const { lines, ...explained } = set.explain(event);
        const { assumptions, ...evaluated } = set.evaluate(event);
        expect({ ...evaluated, assumptions: explained.assumptions }).toEqual({ ...explained, lines: [] });
        // CONST is asked before SUBSYSTEM: of a line that is ruled out by the latter, only the explanation asks it.
        expect(explained.assumptions).toEqual(expect.arrayContaining([...assumptions]));
        expect(lines.map(({ line: { number } }) => number)).toEqual(
          set.files[0]!.lines.map(({ number }) => number),
        );
      }),
      { numRuns: 500 },
    );
  });

  test("jump forward only", () => {
    fc.assert(
      fc.property(rules, dialects, (text, dialect) => {
        const { lines } = parseRules({ path: "f", text }, dialect);
        lines.forEach(({ jump }, i) => {
          if (!jump) return;
          expect(jump.target).toBeGreaterThan(i);
          expect(lines[jump.target]!.label).toBe(jump.label);
        });
      }),
    );
  });

  test("do not depend on the order of tokens of different kinds", () => {
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1, maxLength: 6 }), (pairs) => {
        const { lines } = parseRules({ path: "f", text: pairs.join(", ") });
        const tokens = lines[0]?.tokens ?? [];
        const byKind = (wanted: string): readonly string[] =>
          tokens.filter(({ kind }) => kind === wanted).map(({ text }) => text);
        const reversedGroups = [...new Set(tokens.map(({ kind }) => kind))]
          .toReversed()
          .flatMap((kind) => tokens.filter((token) => token.kind === kind));
        expect(sortTokens(reversedGroups)).toEqual(tokens);
        for (const { kind } of tokens)
          expect(byKind(kind)).toEqual(pairs.filter((text) => byKind(kind).includes(text)));
      }),
    );
  });
});

describe("any glob", () => {
  test("without special characters matches itself alone", () => {
    const plain = fc.string({ unit: fc.constantFrom("a", "b", "/", ".", "é") });
    fc.assert(
      fc.property(plain, plain, (a, b) => {
        expect(compileGlob(a)(b)).toBe(a === b);
      }),
    );
  });

  test("agrees with a regular expression", () => {
    const glob = fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 8 });
    fc.assert(
      fc.property(glob, text, (pattern, value) => {
        const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        expect(compileGlob(pattern)(value)).toBe(expression.test(value));
      }),
      { numRuns: 1000 },
    );
  });
});

test("every dialect is found by its version", () => {
  expect(ALL_DIALECTS.map(({ version }) => dialectOf(version))).toEqual(ALL_DIALECTS);
});
