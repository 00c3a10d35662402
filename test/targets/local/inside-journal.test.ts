/** What the keeper from inside leaves in a journal, and what can be answered from it afterwards. */
import { expect, test } from "vitest";
import { AccuracyQuestion } from "../../../src/keeper/journal/question.ts";
import type { TargetEvent } from "../../../src/keeper/service-event.ts";
import { journalEntryText } from "../../../src/report/journal.ts";
import { Place } from "../../keeper/journal/samples.ts";
import { BLOCK, machineOf } from "../../simulation/sim.ts";
import { InsideSim } from "./inside-sim.ts";

const LOCAL = "local";
/** Milliseconds between two things that happen, by the journal's clocks. */
const STEP = 10_000;

test.each([
  ["re-arm", "re-armed by a call of"],
  ["full-load", "loaded in full by a call of"],
] as const)("a header that was wrong until a %s, and what it is since", async (way, words) => {
  await using place = await Place.make();
  await using sim = await InsideSim.of(machineOf("6.1"));
  let now = Date.UTC(2026, 10, 29, 12);
  const journal = await place.open({ now: () => now, steady: () => now });
  const tell = (event: TargetEvent): void => {
    now += STEP;
    journal.onEvent({ target: LOCAL, at: now, event });
  };
  await sim.refresh();
  // Without what the kernel has mapped there is no re-arm. Symbols are read once.
  if (way === "full-load") await sim.tree.write("/proc/kallsyms", "");
  tell({ kind: "found" });
  tell({ kind: "verdict", audit: await sim.keeper.audit() });
  const accurate = now;
  sim.machine.plugDimm(2n * BLOCK);
  await sim.refresh();
  const { before, installed } = await sim.keeper.update();
  expect(installed?.way).toBe(way);
  tell({ kind: "installed", before, installed: installed!, reactionMs: 4000 });
  now += STEP;
  await journal.close();

  const entries = await place.entries();
  const found = entries.find(({ entry }) => entry === "installed");
  expect(found).toMatchObject({ way, writes: [], pauseMicroseconds: null, left: { missing: [], stale: [] } });
  expect(journalEntryText(found!)).toContain(words);
  const answers = [accurate, accurate + STEP - 2000, accurate + STEP + 1000].map((time) => {
    const question = new AccuracyQuestion(LOCAL, time);
    for (const entry of entries) question.take(entry);
    return question.ask().answer;
  });
  expect(answers).toEqual(["accurate", "inaccurate", "accurate"]);
});
