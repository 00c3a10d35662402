/** `--report FILE.html`: asked for before a run, written at its end. */
import { randomUUID } from "node:crypto";
import { open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Option } from "commander";
import type { PageModel } from "../report/page/model.ts";
import { type PageSetting, shellLine } from "../report/page/setting.ts";
import type { Context } from "./context.ts";
import { UsageError } from "./exit.ts";

/** Of commands that can write a page. */
export interface ReportOptions {
  readonly report?: string;
}

export function reportOption(): Option {
  return new Option(
    "--report <file.html>",
    "write also a page for looking: one file that needs nothing else",
  );
}

/** Where a page goes. */
export interface ReportFile {
  readonly setting: PageSetting;
  /** Draws and writes the page; the one before it stays until it is whole. */
  write(model: PageModel): Promise<void>;
  /** Runs what a keeper may carry out instead of us, and writes the page that comes from it. */
  fromKeeper<T>(work: (context: Context) => Promise<T>): Promise<T>;
}

/**
 * Makes sure that a page can be written where it is wanted, before a run that may take an hour.
 *
 * @returns undefined where none is wanted. @throws {UsageError} where it could not be written.
 */
export async function openReport(
  context: Context,
  { report }: ReportOptions,
): Promise<ReportFile | undefined> {
  if (report === undefined) return undefined;
  const path = resolve(report);
  const carried = context.machine !== undefined;
  // A keeper that carries the command out may not write where its caller may: the page goes back to the caller.
  if (!carried) await checkPlace(report, path);
  const host = [
    ["kdump-hotplug", context.version ?? "unknown version"],
    ["Node", process.versions.node],
    ["host", `${process.platform}, ${process.arch}`],
  ] as const;
  return {
    setting: { command: shellLine(["kdump-hotplug", ...(context.args ?? [])]), host },
    write: async (model) => {
      const { page } = await import("../report/page/page.ts");
      const text = page(model, { version: context.version ?? "unknown", made: new Date() });
      if (carried) context.print(`${PAGE_MARK}${text}`);
      else {
        await replaceFile(path, text);
        context.say(`Wrote ${report}`);
      }
    },
    fromKeeper: async (work) => {
      let text: string | undefined;
      const print = (printed: string): void => {
        if (printed.startsWith(PAGE_MARK)) text = printed.slice(PAGE_MARK.length);
        else context.print(printed);
      };
      try {
        return await work({ ...context, print });
      } finally {
        if (text !== undefined) {
          await replaceFile(path, text);
          context.say(`Wrote ${report}`);
        }
      }
    },
  };
}

/** Before a page that a keeper hands to its caller. No other output has such a character. */
const PAGE_MARK = "\0page\0";

async function checkPlace(report: string, path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined))?.isDirectory())
    throw new UsageError(`--report ${report} is a directory: give a file in it`);
  const probe = besides(path);
  try {
    await (await open(probe, "wx")).close();
    await rm(probe, { force: true });
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : "";
    const directory = dirname(path);
    const reason =
      why === "ENOENT" || why === "ENOTDIR"
        ? `there is no directory ${directory}; make it first`
        : why === "EACCES" || why === "EPERM" || why === "EROFS"
          ? `nothing may be written to ${directory}`
          : error instanceof Error
            ? error.message
            : String(error);
    throw new UsageError(`No page can be written to ${report}: ${reason}`, { cause: error });
  }
}

async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = besides(path);
  try {
    const file = await open(temporary, "wx", 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function besides(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomUUID().slice(0, 8)}.tmp`);
}
