/** What an event comes to: every line's outcome, what was done in which order, what was taken for granted. */
import type { Diagnostic } from "./diagnostic.ts";
import type { UdevEvent } from "./event.ts";
import type { RuleLine } from "./parse.ts";
import type { Assumption, ProgramResult } from "./world.ts";

/** What became of one line. */
export type LineOutcome =
  /** All of it matched, and what it assigns was applied. */
  | { readonly result: "matched"; readonly line: RuleLine }
  /** `token` is the first that did not match; `found` says with what. */
  | { readonly result: "not-matched"; readonly line: RuleLine; readonly token: string; readonly found: Found }
  /** A GOTO led over it. */
  | { readonly result: "jumped-over"; readonly line: RuleLine; readonly by: RuleLine }
  /** It only sets what this device does not have (a node, a network interface), so udev does not look at it. */
  | { readonly result: "not-applicable"; readonly line: RuleLine }
  /** A LABEL alone. */
  | { readonly result: "label"; readonly line: RuleLine };

/** What a token that did not match was compared with. */
export interface Found {
  /** The value; undefined where there is none, or it is no single value. */
  readonly value: string | undefined;
  /** For people: what was found, or what is missing. */
  readonly text: string;
}

/** Where in the rules something was asked for. */
export interface Place {
  readonly path: string;
  readonly line: number;
}

/** Something that was done, or would be, in this order. */
export type RuleAction = Place &
  (
    | {
        /** PROGRAM and IMPORT{program}: the worker waits for it. */
        readonly kind: "program";
        readonly command: string;
        readonly result: ProgramResult;
        /** Whether the result was assumed. */
        readonly assumed: boolean;
      }
    | { readonly kind: "import"; readonly source: string; readonly what: string; readonly done: boolean }
    /** `value` undefined: the property is removed. */
    | { readonly kind: "property"; readonly name: string; readonly value: string | undefined }
    /** Written while the rules are evaluated, before any RUN. */
    | { readonly kind: "attribute"; readonly file: string; readonly value: string }
    | { readonly kind: "sysctl"; readonly name: string; readonly value: string }
    | { readonly kind: "setting"; readonly what: string; readonly value: string }
  );

/** A command of the RUN list, executed after all rules, one after another. */
export interface RunCommand extends Place {
  readonly kind: "program" | "builtin";
  readonly command: string;
}

/** What an event comes to. */
export interface Outcome {
  readonly event: UdevEvent;
  /** In order, for every line; empty where the evaluation was not asked to tell. */
  readonly lines: readonly LineOutcome[];
  readonly actions: readonly RuleAction[];
  readonly run: readonly RunCommand[];
  /** Properties after all rules that rules set or removed (undefined). */
  readonly changed: ReadonlyMap<string, string | undefined>;
  readonly tags: ReadonlySet<string>;
  readonly links: readonly string[];
  readonly owner: string | undefined;
  readonly group: string | undefined;
  readonly mode: number | undefined;
  readonly name: string | undefined;
  readonly assumptions: readonly Assumption[];
  /** What udev would log while it evaluates. */
  readonly problems: readonly Diagnostic[];
}
