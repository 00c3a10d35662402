import { expect, test } from "vitest";
import { Heartbeat } from "../../../src/keeper/heartbeat.ts";
import { Readiness } from "../../../src/keeper/metrics/readiness.ts";
import type { TargetEvent } from "../../../src/keeper/service-event.ts";
import { audit } from "./samples.ts";

const FOUND: TargetEvent = { kind: "found" };

function readiness(...targets: string[]): {
  readonly ready: Readiness;
  /** May be changed. */
  readonly targets: string[];
  tell: (target: string, event: TargetEvent) => void;
} {
  const ready = new Readiness();
  ready.discovered(() => targets);
  return { ready, targets, tell: (target, event) => ready.onEvent({ target, at: 0, event }) };
}

test("nothing is ready before the targets are known, and a keeper without targets is then", () => {
  expect(new Readiness().notReady()).toBe("the targets are not known yet");
  expect(readiness().ready.notReady()).toBeUndefined();
});

test.each<[string, TargetEvent]>([
  ["judged", { kind: "verdict", audit: audit("accurate") }],
  ["looked at in vain", { kind: "failed", error: new Error("x") }],
  ["tried in vain", { kind: "unreachable", reason: "x" }],
  ["lost before it could be judged", { kind: "gone", reason: "x" }],
])("a target is waited for until it has been %s", (_, event) => {
  const { ready, tell } = readiness("qmp:/a", "qmp:/b");
  expect(ready.notReady()).toBe("no first look yet at qmp:/a, qmp:/b");
  tell("qmp:/b", { kind: "verdict", audit: audit("broken") });
  tell("qmp:/a", FOUND);
  tell("qmp:/a", { kind: "resumed", reason: "x" });
  expect(ready.notReady()).toBe("no first look yet at qmp:/a");
  tell("qmp:/a", event);
  expect(ready.notReady()).toBeUndefined();
});

test("one that comes later is waited for, one that was lost is not, one that is wanted anew is", () => {
  const { ready, targets, tell } = readiness();
  targets.push("qmp:/a");
  expect(ready.notReady()).toContain("qmp:/a");
  tell("qmp:/a", { kind: "verdict", audit: audit("accurate") });
  tell("qmp:/a", { kind: "gone", reason: "x" });
  tell("qmp:/a", FOUND);
  expect(ready.notReady()).toBeUndefined();
  targets.length = 0;
  expect(ready.notReady()).toBeUndefined();
  targets.push("qmp:/a");
  expect(ready.notReady()).toContain("qmp:/a");
});

test("of many that are waited for some are named", () => {
  const { ready } = readiness(...Array.from({ length: 1000 }, (_, i) => `qmp:/${i}`));
  expect(ready.notReady()).toBe("no first look yet at qmp:/0, qmp:/1, qmp:/2 and 997 more");
});

test("a loop is alive for as long as its turns take no longer than they may", () => {
  let now = 0;
  const heartbeat = new Heartbeat(10_000, () => now);
  now = 10_000;
  expect(heartbeat.notAlive()).toBeUndefined();
  now = 10_500;
  expect(heartbeat.notAlive()).toBe("the main loop has not turned for 10.5 s (at most 10 s are expected)");
  heartbeat.beat();
  expect(heartbeat.notAlive()).toBeUndefined();
});
