/** Pages of the built program in Debian's Chromium. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { pathToFileURL } from "node:url";
import { type BrowserContext, chromium, type Page } from "playwright-core";

/** Debian's, unless told. */
const CHROMIUM = process.env["KDUMP_HOTPLUG_CHROMIUM"] ?? "/usr/bin/chromium";

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");

/** Nothing of the browser's own goes anywhere. */
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A browser with a profile of its own, and a directory for pages. */
export class Browser implements AsyncDisposable {
  readonly directory: string;
  readonly #context: BrowserContext;

  private constructor(directory: string, context: BrowserContext) {
    this.directory = directory;
    this.#context = context;
  }

  static async open(): Promise<Browser> {
    const directory = await mkdtemp(join(tmpdir(), "kdump-hotplug-browser-"));
    const context = await chromium.launchPersistentContext(join(directory, "profile"), {
      executablePath: CHROMIUM,
      headless: true,
      args: ARGS,
    });
    return new Browser(directory, context);
  }

  /** Runs the program with `--report`. @returns the page's path. */
  async report(name: string, ...args: readonly string[]): Promise<string> {
    const path = join(this.directory, name);
    await promisify(execFile)(process.execPath, [PROGRAM, ...args, "--report", path], {
      maxBuffer: 64 * 2 ** 20,
    }).catch((error: unknown) => {
      // Exit code 1 is an answer: a dump would not be complete.
      if (!(error instanceof Error && "code" in error && error.code === 1)) throw error;
    });
    return path;
  }

  /** Opens a page, and notes everything that it says, fetches or fails in. */
  async show(path: string, width = 1200): Promise<ShownPage> {
    const page = await this.#context.newPage();
    const complaints: string[] = [];
    page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
    const address = pathToFileURL(path).href;
    page.on("request", (request) => {
      if (request.url() !== address) complaints.push(`request: ${request.url()}`);
    });
    await page.setViewportSize({ width, height: 900 });
    await page.goto(address);
    return { page, complaints, [Symbol.asyncDispose]: async () => await page.close() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** One page. */
export interface ShownPage extends AsyncDisposable {
  readonly page: Page;
  /** What the console was told, errors, and requests: empty for a page that is as it should be. */
  readonly complaints: readonly string[];
}
