/** What one load of the capture kernel costs here, by what a log tells. Nothing is loaded, unloaded or started to find out. */
import { execFile, type ExecFileException } from "node:child_process";
import { closeSync, fstatSync, readSync } from "node:fs";
import { stat } from "node:fs/promises";
import { codeOf } from "../qemu/unix-socket.ts";
import { CaptureFilesError, findCaptureFiles } from "./capture-files.ts";
import { LocalError } from "./error.ts";
import { openToRead } from "./file.ts";
import { findLoads, findTracedLoad, type LoadSpan, parseJournal, parseSyslog } from "./last-load.ts";
import { ShellFileError } from "./shell-assignments.ts";
import type { RootTree } from "./tree.ts";

/** A stretch of time with where it was found. */
export interface FoundSpan extends LoadSpan {
  /** A path, or the command that was asked. */
  readonly source: string;
}

/** A file that each load reads, and copies into crash memory. */
export interface LoadedFile {
  readonly path: string;
  readonly bytes: number;
}

/** What is known of the cost of a load. */
export interface LoadCost {
  /** What tells the most of the next reload: the last reload, else the last load, else the last start of the service. */
  readonly span: FoundSpan | undefined;
  /** Kernel and initrd of the distribution's configuration; empty where that cannot be told. */
  readonly files: readonly LoadedFile[];
  /** Why logs say nothing, one clause for each; empty where one does. */
  readonly reasons: readonly string[];
}

/** Runs `journalctl` with these arguments: its output, or in a clause why there is none. */
export type AskJournal = (args: readonly string[]) => Promise<string | { readonly failed: string }>;

const IDENTIFIERS = [
  "kdump",
  "kdumpctl",
  "kdump-udev-throttler",
  "kdump-tools",
  "kdump-config",
  "load.sh",
  "load-once.sh",
];
const UNITS = ["kdump.service", "kdump-tools.service", "kdump-early.service"];
const JOURNALS = ["/var/log/journal", "/run/log/journal"];
const SYSLOGS = ["/var/log/messages", "/var/log/syslog", "/var/log/daemon.log"];
const TRACE = "/var/log/kdump.log";
/** Entries of the journal, the last ones; and bytes of a file from its end. A reload writes some ten lines. */
const MOST_ENTRIES = 2000;
const TAIL = 4 * 1024 * 1024;
const JOURNAL_TIMEOUT_MS = 20_000;

/** Looks for what the last load took. */
export async function findLoadCost(tree: RootTree, ask: AskJournal = journalctl()): Promise<LoadCost> {
  const reasons: string[] = [];
  const spans: FoundSpan[] = [];
  await lookInJournal(tree, ask, spans, reasons);
  // The journal's clock is the finer one.
  if (!spans.some(({ what }) => what === "reload")) await lookInFiles(tree, spans, reasons);
  const order = ["reload", "load", "start"] as const;
  const span = order.flatMap((what) => spans.find((one) => one.what === what) ?? [])[0];
  return { span, files: await loadedFiles(tree), reasons: span ? [] : reasons };
}

async function lookInJournal(
  tree: RootTree,
  ask: AskJournal,
  spans: FoundSpan[],
  reasons: string[],
): Promise<void> {
  // By fields: those of one name are alternatives, and so is what stands on both sides of the plus.
  const what = [
    ...UNITS.map((unit) => `UNIT=${unit}`),
    "+",
    ...IDENTIFIERS.map((name) => `SYSLOG_IDENTIFIER=${name}`),
  ];
  const options = ["--no-pager", "--quiet", "--output=json", `--lines=${MOST_ENTRIES}`];
  const places: (readonly string[])[] = [];
  if (tree.isLive) places.push([]);
  else {
    for (const path of JOURNALS)
      if ((await listed(tree, path)).length > 0) places.push([`--directory=${await tree.locate(path)}`]);
  }
  if (places.length === 0)
    reasons.push(`there is no journal in ${JOURNALS.map((p) => tree.shown(p)).join(" or ")}`);
  for (const place of places) {
    const said = await ask([...place, ...options, ...what]);
    if (typeof said !== "string") {
      reasons.push(said.failed);
      continue;
    }
    const found = findLoads(parseJournal(said), 0);
    if (found.length === 0)
      reasons.push("the journal has no load of a capture kernel that this user may see");
    const source = place.length === 0 ? "journalctl" : `journalctl ${place.join(" ")}`;
    spans.push(...found.map((span) => ({ ...span, source })));
  }
}

async function lookInFiles(tree: RootTree, spans: FoundSpan[], reasons: string[]): Promise<void> {
  const silent: string[] = [];
  for (const path of [...SYSLOGS, TRACE]) {
    const shown = tree.shown(path);
    const text = await tail(tree, path);
    if (typeof text !== "string") {
      if (text !== undefined) reasons.push(text.failed);
      continue;
    }
    const { lines, resolutionMs } = parseSyslog(text);
    const traced = path === TRACE ? findTracedLoad(text) : undefined;
    const found = traced ? [traced] : findLoads(lines, resolutionMs);
    if (found.length === 0) silent.push(shown);
    spans.push(...found.map((span) => ({ ...span, source: shown })));
  }
  if (silent.length > 0) reasons.push(`${silent.join(", ")} tell of none`);
}

/** The end of a file; undefined where there is none. */
async function tail(tree: RootTree, path: string): Promise<string | { readonly failed: string } | undefined> {
  const shown = tree.shown(path);
  try {
    const file = openToRead(await tree.locate(path), shown);
    if (file === "absent") return undefined;
    if (typeof file === "string") return { failed: `${shown} may not be read by this user` };
    try {
      const { size } = fstatSync(file);
      const start = Math.max(0, size - TAIL);
      const buffer = Buffer.alloc(Math.min(size, TAIL));
      const bytesRead = readSync(file, buffer, 0, buffer.length, start);
      const text = buffer.toString("latin1", 0, bytesRead);
      // Up to the first line that is whole.
      return start === 0 ? text : text.slice(text.indexOf("\n") + 1);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof LocalError) return { failed: error.message };
    throw error;
  }
}

async function listed(tree: RootTree, path: string): Promise<readonly string[]> {
  try {
    return await tree.list(path);
  } catch {
    // It may not be read; what would be in it is not missed.
    return [];
  }
}

/** openSUSE's, links that its mkdumprd makes. */
const SUSE_FILES = ["/var/lib/kdump/kernel", "/var/lib/kdump/initrd"];

async function loadedFiles(tree: RootTree): Promise<readonly LoadedFile[]> {
  const files: LoadedFile[] = [];
  for (const path of await captureFiles(tree)) {
    try {
      const found = await stat(await tree.locate(path));
      if (found.isFile()) files.push({ path, bytes: found.size });
    } catch {
      // Only told where it is known.
    }
  }
  return files;
}

async function captureFiles(tree: RootTree): Promise<readonly string[]> {
  try {
    const { kernel, initrd } = await findCaptureFiles(tree);
    return initrd === undefined ? [kernel] : [kernel, initrd];
  } catch (error) {
    const isToldElsewhere =
      error instanceof CaptureFilesError || error instanceof ShellFileError || error instanceof LocalError;
    // /boot may be closed to who is not root.
    if (isToldElsewhere || codeOf(error) !== "") return SUSE_FILES;
    throw error;
  }
}

/** Asks this machine's journalctl, which only reads. */
export function journalctl(signal?: AbortSignal): AskJournal {
  const options = {
    timeout: JOURNAL_TIMEOUT_MS,
    maxBuffer: 32 * 1024 * 1024,
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
    signal,
  } as const;
  return async (args) =>
    await new Promise((resolve, reject) => {
      execFile("journalctl", [...args], options, (error, stdout, stderr) => {
        if (!error) resolve(stdout);
        else if (signal?.aborted === true) reject(error);
        else resolve({ failed: failureOf(error, stderr) });
      });
    });
}

function failureOf(error: ExecFileException, stderr: string): string {
  if (error.code === "ENOENT") return "there is no journalctl here";
  if (error.killed === true) return `journalctl did not answer within ${JOURNAL_TIMEOUT_MS / 1000} s`;
  const words = stderr.trim().split("\n")[0] ?? "";
  return `journalctl ended with ${error.code ?? error.signal ?? "an error"}${words === "" ? "" : `: ${words}`}`;
}
