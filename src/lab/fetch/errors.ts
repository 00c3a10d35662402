/** What could not be supplied, all of it in one message. */

/** One thing that the lab needs and does not have. */
export interface MissingSupply {
  /** What it is, in words: `kernel 6.1`. */
  readonly what: string;
  /** The option that supplies it by hand: `--kernel FILE`; undefined where there is none. */
  readonly option: string | undefined;
  /** Why it is not here: one clause, no final period. */
  readonly reason: string;
}

/**
 * Something is missing that this machine's own archive does not give us here and now.
 *
 * Thrown once, after everything was looked at, so that the user can supply all of it in one go.
 */
export class SupplyError extends Error {
  override readonly name = "SupplyError";
  readonly missing: readonly MissingSupply[];

  constructor(missing: readonly MissingSupply[]) {
    const lines = missing.map(
      ({ what, option, reason }) =>
        `  ${what}: ${reason}${option === undefined ? "" : ` (by hand: ${option})`}`,
    );
    super(["The lab lacks:", ...lines, ...hint(missing)].join("\n"));
    this.missing = missing;
  }
}

/** apt's words for an archive that does not answer: no network, no name server, a proxy that it was not told of. */
const UNREACHABLE =
  /Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Network is unreachable|Connection (?:timed out|refused)|Waited \d+ s for apt-get update/;

/** One line more where all that is missing may have one reason. Indented, as it belongs to the list. */
function hint(missing: readonly MissingSupply[]): readonly string[] {
  if (!missing.some(({ reason }) => UNREACHABLE.test(reason))) return [];
  return [
    "  The archive was not reached: is there a network, or a proxy that apt is to be told of (Acquire::http::Proxy in /etc/apt/apt.conf.d)? Then try again; what is in the cache is not fetched twice",
  ];
}

/** One supply could not be had. The reason ends up in a {@link MissingSupply}. */
export class FetchError extends Error {
  override readonly name = "FetchError";
}
