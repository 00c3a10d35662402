/** The journal's files: order, rotation, torn lines, and disks that are full, read-only or gone. */
import { appendFile, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { JournalBusyError } from "../../../src/keeper/journal/lock.ts";
import { readJournal } from "../../../src/keeper/journal/read.ts";
import { event, Place, TARGET, until, verdict } from "./samples.ts";

test("entries come in order, each with its number, and the file is its owner's", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  journal.onEvent(event({ kind: "found" }, 1000));
  journal.onEvent(event(verdict("the first"), 2000));
  journal.onEvent(event({ kind: "failed", error: new Error("no room") }, 3000));
  journal.onEvent(event({ kind: "gone", reason: "it ended" }, 4000));
  await journal.close();
  const entries = await place.entries();
  expect(entries.map(({ entry, seq }) => [seq, entry])).toEqual([
    [0, "started"],
    [1, "found"],
    [2, "verdict"],
    [3, "failed"],
    [4, "gone"],
    [5, "stopped"],
  ]);
  expect(entries[2]).toMatchObject({ target: TARGET, at: "1970-01-01T00:00:02.000Z", verdict: "unknown" });
  expect(place.said).toEqual([]);
  expect((await stat(place.file())).mode & 0o777).toBe(0o600);
  expect((await stat(place.directory)).mode & 0o777).toBe(0o700);
});

test("a guest's words cannot make two lines of one", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  journal.onEvent(event(verdict("a\nb\u2028c\r\u0000d")));
  await journal.close();
  expect((await place.entries())[1]).toMatchObject({
    entry: "verdict",
    reason: expect.stringContaining("a\nb\u2028c\r\u0000d"),
  });
  const lines = [];
  for await (const line of readJournal(place.directory)) lines.push(line);
  expect(lines.every((line) => "entry" in line)).toBe(true);
});

test("it is rotated by size, keeps as many files as wanted, and each begins with what is known", async () => {
  await using place = await Place.make();
  const journal = await place.open({ maxBytes: 4000, files: 3 });
  journal.onEvent(event(verdict("known all the time"), 1, "qmp:/run/quiet.sock"));
  for (let i = 0; i < 60; i++) {
    journal.onEvent(event(verdict(`number ${i}`), i));
    await until("it is written", () => journal.lag.waiting === 0);
  }
  await journal.close();
  expect((await readdir(place.directory)).sort()).toEqual([
    "journal.1.jsonl",
    "journal.2.jsonl",
    "journal.jsonl",
  ]);
  for (const name of ["journal.jsonl", "journal.1.jsonl", "journal.2.jsonl"]) {
    expect((await stat(place.file(name))).size).toBeLessThan(6000);
    const [first] = await place.entries(name);
    expect(first).toMatchObject({ target: "qmp:/run/quiet.sock", repeats: { seq: 1 } });
  }
  const seqs: number[] = [];
  for await (const line of readJournal(place.directory))
    if ("entry" in line && !line.entry.repeats) seqs.push(line.entry.seq);
  expect(seqs).toEqual(Array.from(seqs, (_, i) => seqs[0]! + i));
  expect(seqs.at(-1)).toBe(62);
});

test("a torn last line is closed and told of; what comes behind it is whole", async () => {
  await using place = await Place.make();
  await (await place.open()).close();
  await appendFile(place.file(), '{"schemaVersion":1,"writer":"9.9","seq":4,"at":"2026-11-');
  const journal = await place.open();
  journal.onEvent(event({ kind: "found" }));
  await journal.close();
  expect(place.said[0]).toContain("ended within an entry (its last 56 bytes)");
  const found = [];
  for await (const line of readJournal(place.directory))
    found.push("entry" in line ? line.entry.entry : line.unreadable);
  expect(found).toEqual([
    "started",
    "stopped",
    "it is not JSON: cut off, or overwritten",
    "started",
    "found",
    "stopped",
  ]);
  expect((await readFile(place.file(), "utf8")).split("\n")[3]).toContain('"closedTorn":56');
});

test("foreign lines in the middle are counted with their place, and the rest is read", async () => {
  await using place = await Place.make();
  await (await place.open()).close();
  const [good = ""] = (await readFile(place.file(), "utf8")).split("\n");
  await writeFile(
    place.file(),
    [
      good,
      "hello",
      '{"a":1}',
      good.replace('"schemaVersion":1', '"schemaVersion":2'),
      "\0".repeat(100),
      good.replace('"started"', '"from-the-future"'),
      good.replace('"pid"', '"dip"'),
      good,
      "",
    ].join("\n"),
  );
  const lines = [];
  for await (const line of readJournal(place.directory)) lines.push(line);
  expect(
    lines.map((line) => ("entry" in line ? line.entry.entry : `${line.line}: ${line.unreadable}`)),
  ).toEqual([
    "started",
    "2: it is not JSON: cut off, or overwritten",
    expect.stringContaining("3: schemaVersion: "),
    "4: schemaVersion is 2, expected 1: another version of kdump-hotplug wrote it",
    "5: it is not JSON: cut off, or overwritten",
    "other",
    expect.stringContaining("7: pid: "),
    "started",
  ]);
});

test("a full disk is said once, waits, counts what is lost, and goes on when there is room again", async () => {
  await using place = await Place.make();
  await mkdir(place.directory);
  await symlink("/dev/full", place.file());
  const journal = await place.open({ maxWaiting: 5 });
  for (let i = 0; i < 8; i++) journal.onEvent(event(verdict(`number ${i}`), i));
  await until("trouble is met", () => place.said.length > 0);
  for (let i = 8; i < 10; i++) journal.onEvent(event(verdict(`number ${i}`), i));
  await until("the oldest are given up", () => journal.lag.lost === 6);
  expect(journal.lag).toEqual({ waiting: 5, lost: 6, late: 0 });
  expect(place.said).toHaveLength(1);
  expect(place.said[0]).toMatch(/cannot be written \(ENOSPC.*guests are kept all the same/);
  await rm(place.file());
  await until("it is written again", () => journal.lag.waiting === 0);
  await journal.close();
  expect(place.said.slice(1)).toEqual([expect.stringContaining("is written again; 6 entries were lost")]);
  const entries = await place.entries();
  // A new file begins with what is known; then what is missing, what is known after that, and what had waited.
  expect(entries.find(({ entry }) => entry === "lost")).toMatchObject({
    count: 6,
    reason: expect.stringContaining("ENOSPC"),
  });
  expect(entries.filter(({ repeats }) => !repeats).map(({ seq }) => seq)).toEqual([6, 7, 8, 9, 10, 11]);
});

test("a directory that is removed is made again, one whose parent is gone is waited for", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  journal.onEvent(event(verdict("before")));
  await until("it is written", () => journal.lag.waiting === 0);
  await rm(place.directory, { recursive: true });
  journal.onEvent(event(verdict("after")));
  await until("it is written", () => journal.lag.waiting === 0);
  expect(place.said).toEqual([]);
  expect((await place.entries()).map((entry) => ("reason" in entry ? entry.reason : entry.entry))).toEqual([
    expect.stringContaining("after"),
    expect.stringContaining("after"),
  ]);
  await rm(join(place.directory, ".."), { recursive: true });
  journal.onEvent(event(verdict("nowhere to go")));
  await until("trouble is met", () => place.said.length === 1);
  expect(place.said[0]).toMatch(/cannot be written \(ENOENT/);
  expect(journal.lag.waiting).toBe(1);
  await mkdir(join(place.directory, ".."));
  await until("it is written", () => journal.lag.waiting === 0);
  await journal.close();
  expect(place.said).toHaveLength(2);
  expect((await place.entries()).at(-2)).toMatchObject({ reason: expect.stringContaining("nowhere to go") });
});

test("a directory that nobody may make, root neither, is said, and the keeper goes on", async () => {
  await using place = await Place.make();
  const journal = await place.open({ directory: "/sys/kernel/kdump-hotplug-journal" });
  journal.onEvent(event(verdict("waiting")));
  await until("trouble is met", () => place.said.length === 1);
  expect(place.said[0]).toMatch(/cannot be written \((EPERM|EACCES|EROFS)/);
  expect(journal.lag.waiting).toBe(2);
  await journal.close();
});

test("something else where the directory should be is said, and the keeper goes on", async () => {
  await using place = await Place.make();
  await writeFile(place.directory, "a file");
  const journal = await place.open();
  journal.onEvent(event(verdict("waiting")));
  await until("trouble is met", () => place.said.length === 1);
  expect(place.said[0]).toMatch(/ENOTDIR|EEXIST/);
  await journal.close();
  expect(await readFile(place.directory, "utf8")).toBe("a file");
});

test("two writers exclude each other", async () => {
  await using place = await Place.make();
  const journal = await place.open();
  await expect(place.open()).rejects.toBeInstanceOf(JournalBusyError);
  await journal.close();
  await (await place.open()).close();
});

test("a clock that goes backwards changes what the clock said, and not the order", async () => {
  await using place = await Place.make();
  let clock = 10_000_000;
  let steady = 500;
  const journal = await place.open({ now: () => clock, steady: () => steady });
  journal.onEvent(event({ kind: "found" }, clock));
  clock -= 3_600_000;
  steady += 1000;
  journal.onEvent(event({ kind: "gone", reason: "x" }, clock));
  await journal.close();
  const entries = await place.entries();
  expect(entries.map(({ seq, up }) => [seq, up])).toEqual([
    [0, 0],
    [1, 0],
    [2, 1000],
    [3, 1000],
  ]);
  expect(Date.parse(entries[2]!.at)).toBeLessThan(Date.parse(entries[1]!.at));
});

test("signs of life are written while nothing happens", async () => {
  await using place = await Place.make();
  const journal = await place.open({ aliveEveryMs: 10 });
  const count = async (): Promise<number> =>
    (await place.entries()).filter(({ entry }) => entry === "alive").length;
  await until("there are some", async () => (await count()) > 2);
  await journal.close();
  const before = await count();
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(await count()).toBe(before);
});
