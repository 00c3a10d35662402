/** A watch for uevents, and what it told. */
import { vi } from "vitest";
import {
  type UeventSourceChoice,
  type UeventWatch,
  watchUevents,
} from "../../../src/targets/local/watch-uevents.ts";

export class Watched implements Disposable {
  changes = 0;
  readonly troubles: string[] = [];
  readonly watch: UeventWatch;

  constructor(sources?: readonly UeventSourceChoice[], timerMs = 60_000) {
    this.watch = watchUevents({
      onChange: () => this.changes++,
      onTrouble: (trouble) => this.troubles.push(trouble),
      timerMs,
      ...(sources && { sources }),
    });
  }

  async hears(by: UeventWatch["source"]): Promise<void> {
    await vi.waitUntil(() => this.watch.source === by, { timeout: 15_000, interval: 2 });
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]();
  }
}
