/** Why the machine that we run in, or a copied tree of one, cannot be looked at. */

/**
 * - `absent`: a file that is needed is not there;
 * - `denied`: it may not be read;
 * - `unsupported`: no such machine can be looked at;
 * - `malformed`: a file does not hold what it should;
 * - `changing`: the machine did not stand still long enough for one look.
 */
export type LocalErrorKind = "absent" | "denied" | "unsupported" | "malformed" | "changing";

/** Thrown by what reads /proc and /sys; the message names the file, what is wrong with it and what to do. */
export class LocalError extends Error {
  override readonly name = "LocalError";
  readonly kind: LocalErrorKind;

  constructor(kind: LocalErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
