/** How often QEMU is asked what it has no event for. */
import { expect, test } from "vitest";
import { nextPollMs } from "../../../src/targets/qemu/watch-devices.ts";

test.each([
  ["where nothing has changed", Infinity, 0, 8],
  ["right after a change", 0, 0, 2],
  ["a while after one", 2000, 0, 8],
  ["where many are watched, nobody more often than all can be", 0, 40, 40],
])("%s", (_, calmMs, atLeastMs, expected) => {
  expect(nextPollMs(8, calmMs, atLeastMs)).toBe(expected);
});
