/** A directory for one test's journal, entries by hand, and what is in the files. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { judge } from "../../../src/keeper/audit.ts";
import { type Entry, type EntryBody, entryLine } from "../../../src/keeper/journal/entry.ts";
import { parseEntry } from "../../../src/keeper/journal/parse.ts";
import { Journal, type JournalOptions } from "../../../src/keeper/journal/journal.ts";
import type { ServiceEvent, TargetEvent } from "../../../src/keeper/service-event.ts";
import { machineLayoutFromQmp } from "../../../src/layout/machine.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";

/** A directory that is gone after the test. */
export class Place implements AsyncDisposable {
  readonly directory: string;
  readonly said: string[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<Place> {
    return new Place(join(await mkdtemp(join(tmpdir(), "kdh-journal-")), "journal"));
  }

  async open(options: Partial<JournalOptions> = {}): Promise<Journal> {
    const say = (line: string): void => void this.said.push(line);
    return await Journal.open({
      directory: this.directory,
      sha256: nodeSha256,
      say,
      retryMs: 20,
      ...options,
    });
  }

  file(name = "journal.jsonl"): string {
    return join(this.directory, name);
  }

  /** The entries of one file; a line that is none fails. */
  async entries(name?: string): Promise<readonly Entry[]> {
    const text = await readFile(this.file(name), "utf8");
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const parsed = parseEntry(line);
        if ("unreadable" in parsed) throw new Error(`${parsed.unreadable}: ${line.slice(0, 200)}`);
        return parsed;
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(join(this.directory, ".."), { recursive: true, force: true });
  }
}

export const TARGET = "qmp:/run/a.sock";

/** A verdict that needs no image. */
export function verdict(reason: string): TargetEvent {
  const layout = machineLayoutFromQmp({
    bootRam: RangeSet.empty,
    memoryDevices: [],
    hotpluggableCpus: [],
    canGrow: false,
  });
  return { kind: "verdict", audit: judge({ found: "unknown", reason }, layout) };
}

export function event(body: TargetEvent, at: number = Date.now(), target: string = TARGET): ServiceEvent {
  return { target, at, event: body };
}

/** Waits until `test` holds; a test that waits in vain fails with what it waited for. */
export async function until(
  what: string,
  test: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await test())) {
    if (performance.now() > end) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** 2026-11-29T05:00:00Z, where all stories of the questions begin. */
export const START: number = Date.UTC(2026, 10, 29, 5);

/** A story: each line is [seconds of steady time, what the clock says (seconds after START), entry]. */
export function story(
  writer: string,
  lines: readonly (readonly [up: number, clock: number, body: EntryBody])[],
  firstSeq = 0,
): readonly Entry[] {
  return lines.map(([up, clock, body], i) => {
    const at = new Date(START + clock * 1000).toISOString();
    const parsed = parseEntry(
      entryLine({ schemaVersion: 1, writer, seq: firstSeq + i, at, up: up * 1000 }, body).trimEnd(),
    );
    if ("unreadable" in parsed) throw new Error(parsed.unreadable);
    return parsed;
  });
}
