/** Where the metrics are served: what `--listen` says, and why nobody can be heard there. */

/** What `--listen` is where only a port is given: nobody but this machine. */
export const LOOPBACK = "127.0.0.1";

/** An address to listen on. */
export interface ListenAddress {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

/** Raised for an address that cannot be read, or cannot be listened on. Bad input: exit code 2. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/**
 * Reads `[HOST:]PORT`: `9469`, `192.0.2.7:9469`, `[::1]:9469`.
 *
 * @throws {ListenError} where it is none.
 */
export function parseListenAddress(text: string): ListenAddress {
  const [, inner, plain, port] = /^(?:(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]\s/@]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const number = Number(port);
  if (port === undefined || number > 65535)
    throw new ListenError(
      `"${text}" is not an address to listen on: expected [HOST:]PORT such as 9469, 192.0.2.7:9469 or [::1]:9469 (without a host ${LOOPBACK}; 0.0.0.0:PORT is every address of this machine)`,
    );
  return { host: inner ?? plain ?? LOOPBACK, port: number };
}

/** As it is written in a URL. */
export function addressText({ host, port }: ListenAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: "something listens there already: end it, or give another port with --listen",
  EACCES: "no permission: ports below 1024 are root's, give a higher one with --listen",
  EADDRNOTAVAIL: "this machine has no such address: give one of its own with --listen",
  ENOTFOUND: "there is no such host: give one of this machine's addresses with --listen",
  EAI_AGAIN: "its name cannot be resolved now: give an address with --listen",
};

/** What is told where listening failed. */
export function listenError(address: ListenAddress, error: unknown): ListenError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const words = WORDS[code] ?? (error instanceof Error ? error.message : String(error));
  return new ListenError(
    `Cannot serve metrics on ${addressText(address)}: ${words}${code in WORDS ? ` (${code})` : ""}`,
    { cause: error },
  );
}
