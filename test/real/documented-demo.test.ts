/** The README's first command, as it stands there, in a copy of the checkout: `make demo`. */
import { readdir } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { checkoutLinesForTest } from "../docs/checkout-lines.ts";
import { CheckoutCopy } from "../program/checkout-copy.ts";
import { findSupplies } from "./lab.ts";
import { guestBootsIn, until } from "./lab-runs.ts";

const supplies = await findSupplies("make demo", "6.1", {});
const LIMIT_MS = 240_000;

const lines = (await checkoutLinesForTest(import.meta.filename)).map(
  (words) => [words.join(" "), words] as const,
);

test("the README shows it", () => {
  expect(lines.map(([line]) => line)).toContain("make demo");
});

describe.skipIf(supplies === undefined)("until its guest boots, then Ctrl-C", () => {
  test.each(lines)("%s", async (line, words) => {
    await using copy = await CheckoutCopy.make();
    const script = copy.start(words);
    const ended = script.ended().then((code) => {
      throw new Error(`${line} ended with ${code} before a guest booted: ${script.said}`);
    });
    const boots = until(
      `a guest of ${line} boots`,
      LIMIT_MS,
      async () => await guestBootsIn(copy.temporary, await readdir(copy.temporary)),
    );
    await Promise.race([boots, ended]);
    ended.catch(() => undefined);
    script.interrupt();
    // make's own code for what was interrupted.
    expect(await script.ended()).not.toBe(0);
    expect(script.said).toMatch(/^QEMU .*, kernel .*, kexec-tools /m);
    expect(script.said).not.toMatch(/^\s+at /m);
    expect(await script.processes()).toEqual([]);
    expect(await copy.left()).toEqual([]);
  });
});
