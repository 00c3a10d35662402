/** Whether every target has had a first look: until then a keeper does not know what it keeps. */
import type { ServiceEvent, ServiceListener } from "../service-event.ts";

/** How many waiting targets are named. */
const NAMED = 3;

/** Hears what came of targets, and is told which there are. */
export class Readiness implements ServiceListener {
  readonly #looked = new Set<string>();
  #targets: (() => readonly string[]) | undefined;

  /** From now on it is known which targets there are. @param targets those that are wanted now, reached or not. */
  discovered(targets: () => readonly string[]): void {
    this.#targets = targets;
  }

  onEvent({ target, event }: ServiceEvent): void {
    // That it is there is no look yet. What a look came to may be that it failed, or that the guest has ended: that is
    // told of elsewhere, and waiting does not help.
    if (event.kind !== "found" && event.kind !== "resumed") this.#looked.add(target);
  }

  /** Why it is not ready, one clause; undefined where it is. */
  notReady(): string | undefined {
    if (this.#targets === undefined) return "the targets are not known yet";
    const wanted = new Set(this.#targets());
    for (const name of this.#looked) if (!wanted.has(name)) this.#looked.delete(name);
    const names = [...wanted].filter((name) => !this.#looked.has(name));
    if (names.length === 0) return undefined;
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
    return `no first look yet at ${names.slice(0, NAMED).join(", ")}${more}`;
  }
}
