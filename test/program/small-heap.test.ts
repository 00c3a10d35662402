/** V8's heap in a process that makes garbage without end. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MODULE = join(fileURLToPath(new URL("../..", import.meta.url)), "dist/cli/small-heap.js");

/** MiB, after three million objects. */
function newSpaceAfter(first: string): number {
  const script = `
    import v8 from "node:v8";
    ${first}
    let kept = [];
    for (let i = 0; i < 3e6; i++) {
      kept.push({ i, list: [i] });
      if (kept.length > 20_000) kept = kept.slice(10_000);
    }
    console.log(v8.getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size);
  `;
  const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  return Number(printed) / 2 ** 20;
}

test("does not grow in a process that wants it small, and does in another", () => {
  const small = `(await import(${JSON.stringify(MODULE)})).keepHeapSmall();`;
  expect(newSpaceAfter(small)).toBeLessThan(4);
  expect(newSpaceAfter("")).toBeGreaterThan(16);
});

/** MiB at most, while a million objects are in use and each is replaced when it is an old one. */
function heapOf(first: string): number {
  const script = `
    ${first}
    const kept = Array.from({ length: 1_000_000 }, (_, i) => ({ i, list: [i] }));
    let most = 0;
    for (let i = 0; i < 8e6; i++) {
      kept[(i * 7919) % kept.length] = { i, list: [i] };
      if (i % 100_000 === 0) most = Math.max(most, process.memoryUsage().heapTotal);
    }
    console.log(most);
  `;
  const printed = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  return Number(printed) / 2 ** 20;
}

test("grows by less over what is in use where that is wanted: 250 MiB here, not 460", () => {
  const slowly = heapOf(`(await import(${JSON.stringify(MODULE)})).letHeapGrowSlowly();`);
  expect(slowly).toBeLessThan(0.75 * heapOf(""));
}, 120_000);
