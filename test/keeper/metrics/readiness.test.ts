import { expect, test } from "vitest";
import { Heartbeat } from "../../../src/keeper/heartbeat.ts";
import { Readiness } from "../../../src/keeper/metrics/readiness.ts";
import type { TargetEvent } from "../../../src/keeper/service-event.ts";
import { audit } from "./samples.ts";

const FOUND: TargetEvent = { kind: "found" };

function readiness(): { readonly ready: Readiness; tell: (target: string, event: TargetEvent) => void } {
  const ready = new Readiness();
  return { ready, tell: (target, event) => ready.onEvent({ target, at: 0, event }) };
}

test("nothing is ready before the targets are known, and a keeper without targets is then", () => {
  const { ready } = readiness();
  expect(ready.notReady()).toBe("the targets are not known yet");
  ready.discovered();
  expect(ready.notReady()).toBeUndefined();
});

test.each<[string, TargetEvent]>([
  ["judged", { kind: "verdict", audit: audit("accurate") }],
  ["looked at in vain", { kind: "failed", error: new Error("x") }],
  ["tried in vain", { kind: "unreachable", reason: "x" }],
  ["gone", { kind: "gone", reason: "x" }],
])("a target is waited for until it has been %s", (_, event) => {
  const { ready, tell } = readiness();
  tell("qmp:/a", FOUND);
  tell("qmp:/b", FOUND);
  ready.discovered();
  tell("qmp:/b", { kind: "verdict", audit: audit("broken") });
  tell("qmp:/a", { kind: "resumed", reason: "x" });
  expect(ready.notReady()).toBe("no first look yet at qmp:/a");
  tell("qmp:/a", event);
  expect(ready.notReady()).toBeUndefined();
});

test("one that comes later is waited for, one that comes back is not, one that is new under that name is", () => {
  const { ready, tell } = readiness();
  ready.discovered();
  tell("qmp:/a", FOUND);
  expect(ready.notReady()).toContain("qmp:/a");
  tell("qmp:/a", { kind: "verdict", audit: audit("accurate") });
  tell("qmp:/a", { kind: "unreachable", reason: "x" });
  tell("qmp:/a", FOUND);
  expect(ready.notReady()).toBeUndefined();
  tell("qmp:/a", { kind: "gone", reason: "x" });
  tell("qmp:/a", FOUND);
  expect(ready.notReady()).toContain("qmp:/a");
});

test("of many that are waited for some are named", () => {
  const { ready, tell } = readiness();
  ready.discovered();
  for (let i = 0; i < 1000; i++) tell(`qmp:/${i}`, FOUND);
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
