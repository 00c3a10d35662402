/**
 * Every script of the checkout that a document shows and `make test` is not made of, as it stands there: what builds and
 * packs to its end, and what measures or fuzzes for long until it is at work; then Ctrl-C, after which nothing is left.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkoutLinesForTest } from "../docs/checkout-lines.ts";
import { CheckoutCopy, type Script } from "./checkout-copy.ts";

/** A release is built twice for `--check`, with npm packages of its own each time. */
const LIMIT_MS = 400_000;

const lines = (await checkoutLinesForTest(import.meta.filename)).map(
  (words) => [words.join(" "), words] as const,
);
/** What is at work, as its command line says: the bench's first part, or the fuzzer. */
const AT_WORK = [
  [/^npm run (?:--silent )?bench\b/, /node .*\.bench\/bench\/main\.js --section /],
  [/^npm run fuzz\b/, /node .*\.bench\/test\/fuzz\/main\.js/],
] as const;
const long = lines.flatMap(([line, words]) => {
  const [, atWork] = AT_WORK.find(([begins]) => begins.test(line)) ?? [];
  return atWork ? [[line, words, atWork] as const] : [];
});
const short = lines.filter(([line]) => !long.some(([other]) => other === line));

let copy: CheckoutCopy;
beforeAll(async () => {
  copy = await CheckoutCopy.make();
}, 60_000);
afterAll(async () => {
  await copy[Symbol.asyncDispose]();
});

test("the documents show them", () => {
  expect(short.length).toBeGreaterThan(4);
  expect(long.length).toBeGreaterThan(8);
});

describe("to its end", { timeout: LIMIT_MS }, () => {
  test.each(short)("%s", async (_line, words) => {
    const script = copy.start(words);
    expect({ code: await script.ended(), said: script.said }).toMatchObject({ code: 0 });
    expect(await script.processes()).toEqual([]);
    expect(await copy.left()).toEqual([]);
  });

  test.each(["dist/cli/main.js", "kdump-hotplug.mjs", "release/SHA256SUMS"])(
    "%s is there then",
    async (made) => {
      expect((await stat(join(copy.path, made))).size).toBeGreaterThan(0);
    },
  );
});

describe("until it is at work", { timeout: LIMIT_MS }, () => {
  test.each(long)("%s", async (_line, words, atWork) => {
    const script = copy.start(words);
    await until(script, async () => (await script.processes()).some((line) => atWork.test(line)));
    // Whoever does not know an option ends at once.
    await delay(300);
    expect({ hasEnded: script.hasEnded, said: script.said }).toMatchObject({ hasEnded: false });
    script.interrupt();
    expect({ code: await endedSoon(script), said: script.said }).not.toMatchObject({ code: 0 });
    expect(script.said).not.toMatch(/^\s+at /m);
    expect(await script.processes()).toEqual([]);
    expect(await copy.left()).toEqual([]);
  });
});

/** Its exit code. @throws with what still runs of it where that takes longer than a minute. */
async function endedSoon(script: Script): Promise<number | null> {
  const limit = new AbortController();
  const tooLate = async (): Promise<never> => {
    await delay(60_000, undefined, { signal: limit.signal });
    throw new Error(
      `${script.line} still runs, a minute after Ctrl-C: ${(await script.processes()).join("; ")}\n${script.said}`,
    );
  };
  try {
    return await Promise.race([script.ended(), tooLate()]);
  } finally {
    limit.abort();
  }
}

async function until(script: Script, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LIMIT_MS / 2;
  while (!(await isSo())) {
    if (script.hasEnded) throw new Error(`${script.line} ended before it was at work: ${script.said}`);
    if (performance.now() > deadline) throw new Error(`${script.line} was never at work: ${script.said}`);
    await delay(50);
  }
}
