/** Why a capture image cannot be found, believed or changed. */

/**
 * - `not-loaded`: no capture kernel is loaded, or it cannot be told that one is;
 * - `not-a-core-header`: what lies at the given address is none;
 * - `outside-image`: a write that would leave the capture image was asked for;
 * - `header-too-large`: the new header does not fit the header's segment;
 * - `unsafe-rearm`: one kexec_load over the image would not be safe, or cannot be proven to be;
 * - `changed`: the machine changed the image while it was being looked at; look again;
 * - `panicking`: the machine is on its way into the capture kernel: it is too late to change anything;
 * - `half-written`: a write failed and could not be undone: the image is not armed any more;
 * - `forged`: what the machine's memory says contradicts itself.
 */
export type ImageErrorKind =
  | "not-loaded"
  | "not-a-core-header"
  | "outside-image"
  | "header-too-large"
  | "unsafe-rearm"
  | "changed"
  | "panicking"
  | "half-written"
  | "forged";

/** Thrown by the rooms that read or plan to change a capture image. */
export class ImageError extends Error {
  override readonly name = "ImageError";
  readonly kind: ImageErrorKind;

  constructor(kind: ImageErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
