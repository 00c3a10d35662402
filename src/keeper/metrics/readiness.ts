/** Whether every target has had a first look: until then a keeper does not know what it keeps. */
import type { ServiceEvent, ServiceListener } from "../service-event.ts";

/** How many waiting targets are named. */
const NAMED = 3;

/** Hears of targets as they come, and remembers those that nobody has looked at yet. */
export class Readiness implements ServiceListener {
  readonly #waiting = new Set<string>();
  readonly #known = new Set<string>();
  #isDiscovered = false;

  /** To be called once every target that is there at the start has been told of as found or unreachable. */
  discovered(): void {
    this.#isDiscovered = true;
  }

  onEvent({ target, event }: ServiceEvent): void {
    switch (event.kind) {
      case "found":
        // One that comes back after it could not be reached had its first look.
        if (!this.#known.has(target)) this.#waiting.add(target);
        this.#known.add(target);
        break;
      case "gone":
        this.#waiting.delete(target);
        this.#known.delete(target);
        break;
      case "resumed":
        break;
      case "verdict":
      case "installed":
      case "failed":
      case "unreachable":
        // What a look came to may be that it failed: that is told of elsewhere, and waiting does not help.
        this.#known.add(target);
        this.#waiting.delete(target);
        break;
    }
  }

  /** Why it is not ready, one clause; undefined where it is. */
  notReady(): string | undefined {
    if (!this.#isDiscovered) return "the targets are not known yet";
    if (this.#waiting.size === 0) return undefined;
    const [...names] = this.#waiting;
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
    return `no first look yet at ${names.slice(0, NAMED).join(", ")}${more}`;
  }
}
