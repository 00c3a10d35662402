/** The metrics of a service: who hears of what happens, and where the figures can be read. */
import { parseListenAddress } from "../keeper/metrics/listen-address.ts";
import { Readiness } from "../keeper/metrics/readiness.ts";
import type { MetricsServer } from "../keeper/metrics/server.ts";
import type { JournalLag } from "../keeper/metrics/service-metrics.ts";
import type { ServiceListener } from "../keeper/service-event.ts";

/** Where they are wanted. */
export interface MetricsSettings {
  /** `[HOST:]PORT` */
  readonly listen?: string | undefined;
  /** For the node exporter. */
  readonly textfile?: string | undefined;
}

export interface MetricsContext {
  readonly version: string;
  /** Told, in a sentence, what goes wrong, and where the metrics are. */
  readonly say: (sentence: string) => void;
  /** Why the keeper's loop is taken for dead, one clause; undefined where it is alive. */
  readonly notAlive: () => string | undefined;
  /** How far the journal is behind, where there is one. */
  readonly journalLag?: (() => JournalLag) | undefined;
}

/** Metrics that are kept; served and written until this is disposed of. */
export interface OpenMetrics extends AsyncDisposable {
  /** To be told of everything, from the first event on. */
  readonly listeners: readonly ServiceListener[];
  /** The address, where they are served: `http://127.0.0.1:9807/metrics`. */
  readonly url: string | undefined;
  /** To be called once it is known which targets there are: see {@link Readiness.discovered}. */
  discovered(targets: () => readonly string[]): void;
}

/**
 * Opens them. Where nobody wants them, nothing is loaded or counted.
 *
 * @throws `ListenError` where the address cannot be read, or cannot be listened on: bad input.
 */
export async function openMetrics(
  settings: MetricsSettings,
  { version, say, notAlive, journalLag }: MetricsContext,
): Promise<OpenMetrics> {
  const { listen, textfile } = settings;
  const address = listen === undefined ? undefined : parseListenAddress(listen);
  const readiness = new Readiness();
  const discovered = (targets: () => readonly string[]): void => readiness.discovered(targets);
  if (address === undefined && textfile === undefined)
    return { listeners: [], url: undefined, discovered, [Symbol.asyncDispose]: async () => undefined };
  const { ServiceMetrics } = await import("../keeper/metrics/service-metrics.ts");
  const metrics = new ServiceMetrics({ version, ...(journalLag && { journalLag }) });
  // The server first: where nobody can listen there is nothing to be ended.
  let server: MetricsServer | undefined;
  if (address !== undefined) {
    const { startMetricsServer } = await import("../keeper/metrics/server.ts");
    const notReady = (): string | undefined => readiness.notReady();
    server = await startMetricsServer(address, { metrics, notAlive, notReady }, say);
    say(`Metrics are at ${server.url}`);
  }
  let writer: AsyncDisposable | undefined;
  if (textfile !== undefined) {
    const { TextfileWriter } = await import("../keeper/metrics/textfile.ts");
    writer = new TextfileWriter({ file: textfile, metrics, say });
  }
  return {
    listeners: [metrics, readiness],
    url: server?.url,
    discovered,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([server?.[Symbol.asyncDispose](), writer?.[Symbol.asyncDispose]()]);
    },
  };
}
