/** The domains behind `libvirt:*`: they come and go, and libvirt is asked for them now and then. */
import type { Listed, TargetSource } from "../../keeper/service/source.ts";
import { listRunningDomains } from "./list.ts";

export interface DomainSourceOptions {
  /** Milliseconds between an answer and the next question; default 5000. */
  readonly askEveryMs?: number;
  /** Told once of each trouble: it is asked again, and what was listed stays. */
  readonly onTrouble?: (words: string) => void;
  /** Default: by virsh. */
  readonly list?: (signal: AbortSignal) => Promise<readonly string[]>;
}

const ASK_EVERY_MS = 5000;

/** Every domain that runs, as `libvirt:NAME`. Where libvirt cannot be asked, those of the last answer stay listed. */
export function domainSource(options: DomainSourceOptions = {}): TargetSource {
  return { watch: (listed) => new DomainWatch(options, listed) };
}

class DomainWatch implements Disposable {
  readonly #options: DomainSourceOptions;
  readonly #listed: (targets: readonly Listed[]) => void;
  readonly #ended = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #told: string | undefined;
  #trouble: string | undefined;

  constructor(options: DomainSourceOptions, listed: (targets: readonly Listed[]) => void) {
    this.#options = options;
    this.#listed = listed;
    void this.#ask();
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
  }

  async #ask(): Promise<void> {
    const { list = listRunningDomains, askEveryMs = ASK_EVERY_MS } = this.#options;
    try {
      const names = await list(this.#ended.signal);
      this.#trouble = undefined;
      this.#tell(names.map((name) => ({ target: `libvirt:${name}`, token: "" })));
    } catch (error) {
      this.#complain(error instanceof Error ? error.message : String(error));
    }
    if (!this.#ended.signal.aborted) this.#timer = setTimeout(() => void this.#ask(), askEveryMs);
  }

  #tell(targets: readonly Listed[]): void {
    const text = targets.map(({ target }) => target).join("\n");
    if (this.#ended.signal.aborted || text === this.#told) return;
    this.#told = text;
    this.#listed(targets);
  }

  #complain(trouble: string): void {
    if (this.#ended.signal.aborted || trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#options.onTrouble?.(`libvirt:*: ${trouble}`);
  }
}
