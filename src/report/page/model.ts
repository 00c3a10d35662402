/** What a page shows, as values: each command has one small file that makes this from what it has at hand. */
import type { CoreHeader } from "../../elfcore/header.ts";
import type { Interval } from "../../simulation/world/timeline.ts";
import type { Condition } from "../../simulation/world/state.ts";
import type { Part } from "./markup.ts";

/** How something is meant: never told by colour alone. */
export type Tone = "good" | "bad" | "doubt" | "unknown" | "plain";

/** A page. */
export interface PageModel {
  readonly title: string;
  /** Said at the top and in the title where nothing of it was measured; undefined where it was. */
  readonly simulated?: string | undefined;
  /** The answer in one sentence. */
  readonly lead: { readonly tone: Tone; readonly text: string };
  /** What was run, on what. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** The command line that makes all of it again. */
  readonly command: string;
  readonly sections: readonly Section[];
  /** What a page of this kind could show and this one cannot, with why, or what would make it known. */
  readonly lacking: readonly (readonly [what: string, why: string])[];
}

export type Section =
  | TimelineSection
  | MapSection
  | HeaderSection
  | DistributionSection
  | OutcomeSection
  | MomentSection
  | TableSection
  | NoteSection
  | TextSection;

interface SectionHead {
  readonly title: string;
  /** Sentences between title and picture. */
  readonly text?: string | undefined;
}

/** When what was blind, stale and accurate. */
export interface TimelineSection extends SectionHead {
  readonly kind: "timeline";
  /** ms. */
  readonly window: number;
  readonly bands: readonly TimelineBand[];
}

export interface TimelineBand {
  readonly name: string;
  readonly title?: string | undefined;
  /** Without gaps, from 0 on. */
  readonly intervals: readonly Pick<Interval, "start" | "end" | "condition">[];
}

/** A cell of a memory map, by what matters most of it. */
export type CellClass = "none" | "backed" | "described" | "crash" | "held" | "stale" | "missing";

/** Physical memory as cells of equal size, stepped through events. */
export interface MapSection extends SectionHead {
  readonly kind: "map";
  readonly cellBytes: number;
  /** Stretches of addresses that have something at some time, ascending; cells are numbered through. */
  readonly regions: readonly MapRegion[];
  /** What each class means here. Those that are not in it do not occur. */
  readonly words: Readonly<Partial<Record<CellClass, string>>>;
  /** What is stepped through, one at a time. */
  readonly runs: readonly MapRun[];
}

export interface MapRegion {
  readonly title?: string | undefined;
  readonly start: bigint;
  readonly cells: number;
}

export interface MapRun {
  readonly name: string;
  /** Class of each cell before the first step. */
  readonly initial: Uint8Array;
  readonly steps: readonly MapStep[];
  /** Texts of steps; `{}` stands for the step's number. */
  readonly labels: readonly string[];
  /** ms, where the steps' times are known. */
  readonly window?: number | undefined;
  /** The band of the same run, drawn over the map. */
  readonly intervals?: TimelineBand["intervals"] | undefined;
}

export interface MapStep {
  /** ms; 0 where times are not known. */
  readonly at: number;
  /** Place in `labels`. */
  readonly label: number;
  readonly number: number;
  /** Undefined where it is not known. */
  readonly condition: Condition | undefined;
  /** Cells that are of another class from here on: first, count, class. */
  readonly changes: readonly (readonly [from: number, count: number, cell: number])[];
  /** Bytes of each class, in {@link CELL_CLASSES}' order; where left out, cells are counted. */
  readonly bytes?: readonly number[] | undefined;
}

/** Their order is their rank: a cell that holds several shows the last of them. */
export const CELL_CLASSES: readonly CellClass[] = [
  "none",
  "backed",
  "described",
  "crash",
  "held",
  "stale",
  "missing",
];

/** A core header as it was and as it is. */
export interface HeaderSection extends SectionHead {
  readonly kind: "header";
  readonly before: { readonly words: string; readonly header: CoreHeader };
  readonly after: { readonly words: string; readonly header: CoreHeader };
}

/** Durations of many. */
export interface DistributionSection extends SectionHead {
  readonly kind: "distribution";
  /** What one value is, such as "reaction". */
  readonly what: string;
  readonly unit: "ms";
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** How many of what, with intervals. */
export interface OutcomeSection extends SectionHead {
  readonly kind: "outcomes";
  readonly rows: readonly OutcomeRow[];
}

export interface OutcomeRow {
  readonly name: string;
  readonly complete: number;
  readonly incomplete: number;
  readonly noDump: number;
  /** Where the share that is not complete lies with 95 % confidence, both in [0, 1]. */
  readonly notComplete95: readonly [low: number, high: number];
}

/** Panics by when they came, and what each gave. */
export interface MomentSection extends SectionHead {
  readonly kind: "moments";
  readonly rows: readonly {
    readonly name: string;
    readonly points: readonly {
      readonly at: number;
      readonly outcome: "complete" | "incomplete" | "no-dump";
    }[];
  }[];
}

export interface TableSection extends SectionHead {
  readonly kind: "table";
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** Rows beyond it are counted, not shown. */
  readonly limit?: number | undefined;
}

export type Cell = string | { readonly tone: Tone; readonly text: string } | { readonly code: string };

/** Sentences. */
export interface NoteSection extends SectionHead {
  readonly kind: "notes";
  readonly notes: readonly string[];
}

/** Text in columns, as a terminal has it. */
export interface TextSection extends SectionHead {
  readonly kind: "text";
  readonly body: string;
}

/** A section's picture with what it needs of the page's script. */
export interface Drawn {
  readonly body: Part;
  /** For the script; JSON. */
  readonly data?: unknown;
}
