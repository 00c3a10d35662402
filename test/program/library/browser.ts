/** Chromium without a window, by its debugging pipe (DevTools protocol): enough for one page, without a package. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

/** What is asked of a page. */
export class Browser implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #to: Writable;
  readonly #waiting = new Map<
    number,
    { readonly done: (result: unknown) => void; readonly failed: (error: Error) => void }
  >();
  /** What the page wrote to its console, and errors in it. */
  readonly troubles: string[] = [];
  #next = 1;
  #session: string | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- stdio says "pipe" for both
    const [, , , to, from] = child.stdio as unknown as [unknown, unknown, unknown, Writable, Readable];
    this.#to = to;
    let text = "";
    from.setEncoding("utf8");
    from.on("data", (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf("\0"); end !== -1; end = text.indexOf("\0")) {
        this.#take(text.slice(0, end));
        text = text.slice(end + 1);
      }
    });
    child.on("exit", () => {
      for (const { failed } of this.#waiting.values()) failed(new Error("Chromium has ended"));
    });
  }

  /** @param directory for its profile, which it fills. */
  static async open(program: string, directory: string, url: string): Promise<Browser> {
    const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    const child = spawn(
      program,
      [...args, `--user-data-dir=${directory}`, "--remote-debugging-pipe", "about:blank"],
      {
        stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
      },
    );
    const browser = new Browser(child);
    const { targetId } = await browser.send<{ targetId: string }>("Target.createTarget", {
      url: "about:blank",
    });
    const attached = await browser.send<{ sessionId: string }>("Target.attachToTarget", {
      targetId,
      flatten: true,
    });
    browser.#session = attached.sessionId;
    for (const domain of ["Page", "Runtime", "DOM", "Network"]) await browser.send(`${domain}.enable`);
    await browser.send("Page.navigate", { url });
    await browser.until("document.readyState === 'complete'");
    return browser;
  }

  async send<T>(method: string, params: object = {}): Promise<T> {
    const id = this.#next++;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    const answer = new Promise<unknown>((done, failed) => this.#waiting.set(id, { done, failed }));
    this.#to.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the protocol says so
    return (await answer) as T;
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const { result } = await this.send<{ result: { value: T } }>("Runtime.evaluate", {
      expression,
      returnByValue: true,
    });
    return result.value;
  }

  /** Waits until an expression is true, 10 s at most. */
  async until(expression: string): Promise<void> {
    for (let left = 200; !(await this.value<boolean>(expression)); left--) {
      if (left === 0) throw new Error(`It did not become true: ${expression}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** Chooses a file as a user does. */
  async choose(selector: string, path: string): Promise<void> {
    const { root } = await this.send<{ root: { nodeId: number } }>("DOM.getDocument");
    const { nodeId } = await this.send<{ nodeId: number }>("DOM.querySelector", {
      nodeId: root.nodeId,
      selector,
    });
    await this.send("DOM.setFileInputFiles", { nodeId, files: [path] });
  }

  #take(text: string): void {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Chromium's own messages
    const message = JSON.parse(text) as {
      id?: number;
      method?: string;
      result?: unknown;
      error?: { message: string };
    };
    if (message.method === "Runtime.exceptionThrown" || message.method === "Runtime.consoleAPICalled")
      this.troubles.push(text);
    if (message.method === "Network.requestWillBeSent" && !text.includes('"url":"file:'))
      this.troubles.push(text);
    if (message.id === undefined) return;
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.failed(new Error(message.error.message));
    else waiting?.done(message.result);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill("SIGKILL");
    await ended;
  }
}
