import { expect, test } from "vitest";
import type { TargetEvent } from "../../src/keeper/service-event.ts";
import { serviceJson, serviceText } from "../../src/report/service.ts";

const at = Date.parse("2026-11-29T06:00:00.000Z");
const entry = (event: TargetEvent) => ({ target: "qmp:/run/a.sock", at, event });

test.each([
  [{ kind: "found" } as const, "found, watched from now on"],
  [{ kind: "gone", reason: "QEMU has ended" } as const, "gone: QEMU has ended"],
  [{ kind: "unreachable", reason: "busy\u001b[2J" } as const, "unreachable: busy\\u001b[2J"],
  [{ kind: "resumed", reason: "a keeper was killed" } as const, "resumed: a keeper was killed"],
  [{ kind: "failed", error: new Error("no room") } as const, "failed: no room"],
])("%j in words and as JSON", (event, words) => {
  expect(serviceText(entry(event))).toBe(`2026-11-29T06:00:00.000Z qmp:/run/a.sock: ${words}\n`);
  const { kind, ...rest } = event;
  expect(serviceJson(entry(event))).toEqual({
    schemaVersion: 1,
    target: "qmp:/run/a.sock",
    at: "2026-11-29T06:00:00.000Z",
    event: kind,
    ...("error" in rest ? { error: rest.error.message } : rest),
  });
});
