/** A short run of the fuzzer: the same inputs each time. `npm run fuzz` makes long ones. */
import { afterAll, describe, expect, test } from "vitest";
import { removeDirectories } from "./directory.ts";
import { inputOf } from "./mutate.ts";
import { type FuzzedReader, promise } from "./reader.ts";
import { READERS } from "./readers/all.ts";
import { fuzzReader } from "./run.ts";

const SEED = 20_201_214;

afterAll(removeDirectories);

describe("a short run", () => {
  test.each(READERS)("$name survives", { timeout: 30_000 }, async (reader) => {
    const { count, find } = await fuzzReader(reader, SEED, { inputs: 400, milliseconds: 500 });
    expect(find && `input ${find.number}: ${find.what}`).toBeUndefined();
    expect(count.inputs).toBeGreaterThanOrEqual(reader.corpus.length);
    // A reader that refuses everything is not read at all.
    expect(count.refused).toBeLessThan(count.inputs);
  });
});

const reader = (read: FuzzedReader["read"]): FuzzedReader => ({
  name: "test",
  corpus: [Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
  dictionary: [Uint8Array.of(9)],
  refusals: [SyntaxError],
  read,
});

const run = (read: FuzzedReader["read"]): ReturnType<typeof fuzzReader> =>
  fuzzReader(reader(read), 1, { inputs: 200, milliseconds: 10_000 });

describe("the fuzzer itself", () => {
  test("makes the same inputs from the same seed, and others from another", () => {
    const one = reader(() => undefined);
    const of = (seed: number): readonly string[] =>
      Array.from({ length: 50 }, (_, number) => Buffer.from(inputOf(one, seed, number)).toString("hex"));
    expect(of(1)).toEqual(of(1));
    expect(of(1)).not.toEqual(of(2));
    expect(new Set(of(1)).size).toBeGreaterThan(30);
  });

  test("counts refusals, and finds every other error", async () => {
    const refusing = await run(() => {
      throw new SyntaxError("no");
    });
    expect(refusing).toMatchObject({ find: undefined, count: { inputs: 200, refused: 200 } });
    const { find, count } = await run((input) => {
      if (input.length > 8) throw new RangeError("Invalid array length");
    });
    expect(find?.what).toContain("RangeError: Invalid array length");
    expect(find?.input).toEqual(
      inputOf(
        reader(() => undefined),
        1,
        find!.number,
      ),
    );
    expect(count.inputs).toBe(find!.number + 1);
  });

  test("finds broken promises, and a rejection as well as a throw", async () => {
    const broken = await run(async (input) => promise(input.length <= 8, "it grew"));
    expect(broken.find?.what).toBe("it grew");
  });

  test("finds an input that takes too long", { timeout: 60_000 }, async () => {
    const { find } = await run((input) => {
      const started = process.cpuUsage();
      let [spent, sum] = [0, 0];
      while (input.length > 8 && spent < 2_100_000) {
        for (let i = 0; i < 10_000_000; i++) sum += i;
        const { user, system } = process.cpuUsage(started);
        spent = user + system;
      }
      return sum;
    });
    expect(find?.what).toMatch(/it took \d+ ms of processor time, at most 2000/);
  });
});
