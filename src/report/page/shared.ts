/**
 * What the program and the page's own script both do. The page is given these functions as text (see script.ts), so
 * each of them stands alone: it uses nothing but its arguments and the language.
 */

/** A run as the page's data has it: numbers, because thousands of objects would be ten times the bytes. */
export interface RunData {
  readonly name: string;
  /** Classes before the first step as pairs of count and class. */
  readonly initial: readonly number[];
  /**
   * Step by step: time since the last one in tenths of a millisecond, label, number, condition (0 accurate, 1 stale,
   * 2 blind, 3 not known), how many changes, and for each of them first cell, count and class.
   */
  readonly steps: readonly number[];
  readonly labels: readonly string[];
  /** ms; 0 where times are not known. */
  readonly window: number;
  /** Bytes of each class for each step; empty where cells are counted. */
  readonly bytes: readonly (readonly number[])[];
}

/** A run, unpacked. */
export interface RunSteps {
  readonly count: number;
  /** ms. */
  at(step: number): number;
  text(step: number): string;
  condition(step: number): number;
  /** Classes of all cells at a step. */
  cells(step: number): Uint8Array;
}

/** Unpacks a run. Any step is at hand at once: every so many there is a copy of all cells. */
export function unpackRun(run: RunData): RunSteps {
  const every = 128;
  const offsets: number[] = [];
  const times: number[] = [];
  const initial: number[] = [];
  for (let i = 0; i < run.initial.length; i += 2)
    for (let n = 0; n < run.initial[i]!; n++) initial.push(run.initial[i + 1]!);
  const { steps } = run;
  let state = Uint8Array.from(initial);
  const copies: Uint8Array[] = [];
  const apply = (offset: number, cells: Uint8Array): void => {
    const end = offset + 5 + steps[offset + 4]! * 3;
    for (let i = offset + 5; i < end; i += 3) {
      const [first = 0, count = 0, cell = 0] = steps.slice(i, i + 3);
      cells.fill(cell, first, first + count);
    }
  };
  let time = 0;
  for (let i = 0; i < steps.length; i += 5 + steps[i + 4]! * 3) {
    time += steps[i]!;
    times.push(time / 10);
    if (offsets.length % every === 0) copies.push(state.slice());
    offsets.push(i);
    apply(i, state);
  }
  let shown = -1;
  return {
    count: offsets.length,
    at: (step) => times[step]!,
    text: (step) => {
      const offset = offsets[step]!;
      return run.labels[steps[offset + 1]!]!.replaceAll("{}", String(steps[offset + 2]));
    },
    condition: (step) => steps[offsets[step]! + 3]!,
    cells: (step) => {
      if (shown < 0 || step < shown || step - shown > every) {
        shown = step - (step % every);
        state = copies[shown / every]!.slice();
        apply(offsets[shown]!, state);
      }
      for (; shown < step; shown++) apply(offsets[shown + 1]!, state);
      return state;
    },
  };
}

/**
 * Cells as paths of an SVG, ten units each, in rows: one path for each class, and neighbours in a row are one
 * rectangle.
 */
export function cellPaths(
  cells: Uint8Array,
  from: number,
  count: number,
  columns: number,
  classes: number,
): readonly string[] {
  const paths = Array.from({ length: classes }, () => "");
  for (let i = 0; i < count;) {
    const cell = cells[from + i]!;
    const rest = Math.min(columns - (i % columns), count - i);
    let width = 1;
    while (width < rest && cells[from + i + width] === cell) width++;
    const x = (i % columns) * 10;
    paths[cell] += `M${x} ${Math.floor(i / columns) * 10}h${width * 10}v10h-${width * 10}z`;
    i += width;
  }
  return paths;
}

/** Bytes for people, rounded to a tenth: `0`, `480 GiB`, `1.5 MiB`. */
export function sizeText(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return bytes === 0 ? "0" : `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** When a step is: `at 12.345 s`; nothing where times are not known. */
export function timeText(at: number, window: number): string {
  return window === 0 ? "" : ` at ${(at / 1000).toFixed(3)} s`;
}
