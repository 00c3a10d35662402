/** Lines that somebody else wrote, or a crash: never an error, whatever they are. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseEntry } from "../../../src/keeper/journal/parse.ts";
import { OpenInstalls } from "../../../src/keeper/journal/open-installs.ts";
import { AccuracyQuestion } from "../../../src/keeper/journal/question.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { Keeper } from "../../../src/keeper/keeper.ts";
import { FakeTarget, slots } from "../fake-target.ts";
import { event, Place, START, TARGET, verdict } from "./samples.ts";

/** The lines of a journal in which a little of everything is. */
async function lines(): Promise<readonly string[]> {
  await using place = await Place.make();
  const journal = await place.open();
  const target = new FakeTarget("file");
  target.add(slots(0));
  await new Keeper(target, nodeSha256, {}, journal.installLog(TARGET)).reconcile();
  journal.onEvent(event(verdict("x")));
  journal.onEvent(event({ kind: "gone", reason: "y" }));
  await journal.close();
  return (await place.entries()).map((entry) => JSON.stringify(entry));
}

test("any text is an entry or told why not, and a question can be asked of whatever entries", async () => {
  const good = await lines();
  const mutated = fc
    .tuple(
      fc.constantFrom(...good),
      fc.nat(),
      fc.nat({ max: 40 }),
      fc.string({ unit: "binary", maxLength: 12 }),
    )
    .map(([line, at, gone, text]) => {
      const start = at % line.length;
      return line.slice(0, start) + text + line.slice(start + gone);
    });
  const anything = fc.oneof(fc.string(), fc.json(), mutated, fc.constantFrom(...good));
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 12 }), (texts) => {
      const question = new AccuracyQuestion(TARGET, START);
      const open = new OpenInstalls();
      const reasons: string[] = [];
      for (const text of texts) {
        const parsed = parseEntry(text);
        if ("unreadable" in parsed) {
          reasons.push(parsed.unreadable);
          continue;
        }
        question.take(parsed);
        open.take(parsed);
      }
      expect(["accurate", "inaccurate", "unknown"]).toContain(question.ask().answer);
      expect(reasons).not.toContain("");
      expect([...open.repeats()].length).toBeLessThanOrEqual(2 * texts.length);
    }),
    { numRuns: 1000 },
  );
});

test("what was written is read back as it was", async () => {
  const good = await lines();
  expect(good.length).toBeGreaterThan(5);
  for (const line of good) expect(JSON.parse(JSON.stringify(parseEntry(line)))).toEqual(JSON.parse(line));
});
