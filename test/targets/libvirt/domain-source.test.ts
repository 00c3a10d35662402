import { describe, expect, test, vi } from "vitest";
import { domainSource } from "../../../src/targets/libvirt/domain-source.ts";
import { PATIENCE } from "../../patience.ts";

/** Answers in turn, the last one again and again. */
function answers(...texts: readonly (readonly string[] | Error)[]): () => Promise<readonly string[]> {
  let asked = 0;
  return async () => {
    const answer = texts[Math.min(asked++, texts.length - 1)]!;
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

describe("the domains behind libvirt:*", () => {
  test("are listed as they come and go, each change once", async () => {
    const listed: (readonly string[])[] = [];
    const list = vi.fn<() => Promise<readonly string[]>>(answers([], ["a"], ["a"], ["a", "b c"], ["b c"]));
    using _ = domainSource({ list, askEveryMs: 1 }).watch((targets) =>
      listed.push(targets.map(({ target }) => target)),
    );
    await vi.waitFor(() => expect(list.mock.calls.length).toBeGreaterThan(6), PATIENCE);
    expect(listed).toEqual([[], ["libvirt:a"], ["libvirt:a", "libvirt:b c"], ["libvirt:b c"]]);
  });

  test("stay listed while libvirt cannot be asked, which is told once", async () => {
    const listed: unknown[] = [];
    const troubles: string[] = [];
    const list = vi.fn<() => Promise<readonly string[]>>(
      answers(["a"], new Error("away"), new Error("away"), ["a"]),
    );
    using _ = domainSource({ list, askEveryMs: 1, onTrouble: (words) => troubles.push(words) }).watch(
      (targets) => listed.push(targets),
    );
    await vi.waitFor(() => expect(list.mock.calls.length).toBeGreaterThan(5), PATIENCE);
    expect(listed).toEqual([[{ target: "libvirt:a", token: "" }]]);
    expect(troubles).toEqual(["libvirt:*: away"]);
  });

  test("are not asked for any more when nobody wants them", async () => {
    let signal: AbortSignal | undefined;
    const list = vi.fn<(signal: AbortSignal) => Promise<readonly string[]>>(async (given) => {
      signal = given;
      await new Promise((_, reject) => given.addEventListener("abort", () => reject(new Error("aborted"))));
      return [];
    });
    const troubles: string[] = [];
    const watching = domainSource({ list, askEveryMs: 1, onTrouble: (words) => troubles.push(words) }).watch(
      () => expect.fail("nothing is listed"),
    );
    watching[Symbol.dispose]();
    expect(signal?.aborted).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(list).toHaveBeenCalledTimes(1);
    expect(troubles).toEqual([]);
  });
});
