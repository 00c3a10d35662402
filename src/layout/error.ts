/** The one error of this room: a layout that cannot be read, or a header that cannot be made from it. */

/**
 * Thrown by every reader and function in layout that refuses its input.
 *
 * `where` names the place: a field path (`query-memory-devices[2].data.size`), a file, a line of it.
 */
export class LayoutError extends Error {
  override readonly name = "LayoutError";
  readonly where: string;

  /**
   * @param action - what was being done, as it follows "Cannot".
   * @param where - what was read, down to the field.
   * @param reason - what was found and what was expected.
   */
  constructor(action: string, where: string, reason: string) {
    super(`Cannot ${action}: ${where === "" ? "" : `${where} `}${reason}`);
    this.where = where;
  }
}
