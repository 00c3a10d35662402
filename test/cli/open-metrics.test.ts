import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openMetrics } from "../../src/cli/open-metrics.ts";
import { ListenError } from "../../src/keeper/metrics/listen-address.ts";
import { audit } from "../keeper/metrics/samples.ts";
import { PATIENCE } from "../patience.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-metrics-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const context = { version: "1.2.3", say: () => undefined, notAlive: () => undefined };

test("what happens is seen at the address and in the file, until they are closed", async () => {
  const said: string[] = [];
  const textfile = join(directory, "kdump.prom");
  const metrics = await openMetrics(
    { listen: "127.0.0.1:0", textfile },
    {
      ...context,
      say: (line) => said.push(line),
      journalLag: () => ({ waiting: 4, lost: 0, late: 0 }),
    },
  );
  const ask = async (path: string): Promise<string> => {
    const answer = await fetch(new URL(path, metrics.url));
    return `${answer.status} ${await answer.text()}`;
  };
  expect(said).toEqual([`Metrics are at ${metrics.url}`]);
  expect(await ask("/healthz")).toBe("200 yes\n");
  expect(await ask("/readyz")).toBe("503 no: the targets are not known yet\n");
  for (const listener of metrics.listeners)
    listener.onEvent({ target: "qmp:/a", at: 0, event: { kind: "found" } });
  metrics.discovered(() => ["qmp:/a"]);
  expect(await ask("/readyz")).toBe("503 no: no first look yet at qmp:/a\n");
  for (const listener of metrics.listeners)
    listener.onEvent({ target: "qmp:/a", at: 0, event: { kind: "verdict", audit: audit("accurate") } });
  expect(await ask("/readyz")).toBe("200 yes\n");
  expect(await ask("/metrics")).toMatch(/^kdump_hotplug_journal_waiting_entries 4$/m);
  await metrics[Symbol.asyncDispose]();
  const series = 'kdump_hotplug_target_verdict{target="qmp:/a",verdict="accurate"} 1';
  // A disk that is busy is not waited for longer than a second, and then has it a moment later.
  await vi.waitFor(async () => expect(await readFile(textfile, "utf8")).toContain(series), PATIENCE);
  await expect(ask("/metrics")).rejects.toThrow("fetch failed");
});

test("nothing is opened where nobody wants it, and what cannot be read is refused before anything is", async () => {
  await using none = await openMetrics({}, context);
  expect([none.listeners, none.url]).toEqual([[], undefined]);
  const textfile = join(directory, "kdump.prom");
  await expect(openMetrics({ listen: "here", textfile }, context)).rejects.toThrow(ListenError);
  await expect(readFile(textfile)).rejects.toThrow("ENOENT");
});
