/** A campaign's file while it grows. */
import { appendFile, mkdir, readFile, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import {
  type CampaignHead,
  readResults,
  resultLine,
  ResultsError,
  samePlans,
  type TrialRecord,
} from "./results.ts";

/** A file of results that grows by whole lines. */
export class ResultsFile {
  /** What was in it when it was opened. */
  readonly before: readonly TrialRecord[];
  readonly #path: string;
  #last: Promise<void> = Promise.resolve();

  private constructor(path: string, before: readonly TrialRecord[]) {
    this.#path = path;
    this.before = before;
  }

  /**
   * Opens `path`, or makes it, with its directory.
   *
   * @throws {ResultsError} where the file has another campaign's results.
   */
  static async open(path: string, head: CampaignHead): Promise<ResultsFile> {
    const results = await readResults(path);
    if (!results) {
      await mkdir(dirname(path), { recursive: true });
      await truncateTo(path, 0);
      await appendFile(path, resultLine(head));
      return new ResultsFile(path, []);
    }
    if (!samePlans(results.head, head))
      throw new ResultsError(
        `${path} has results of another campaign (${results.head.kind}, seed ${results.head.seed}, --fresh-every ${results.head.freshEvery}, --pages-every ${results.head.pagesEvery}${results.head.cpus ? ", --cpus" : ""}); give the same, or another --out`,
      );
    // A run that was killed may have left half a line.
    await truncateTo(path, (await readFile(path)).lastIndexOf("\n") + 1);
    return new ResultsFile(path, results.trials);
  }

  /** Appends one line; calls come out one after the other. */
  async append(record: TrialRecord): Promise<void> {
    this.#last = this.#last.then(async () => await appendFile(this.#path, resultLine(record)));
    await this.#last;
  }
}

async function truncateTo(path: string, length: number): Promise<void> {
  await truncate(path, length).catch((error: unknown) => {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  });
}
