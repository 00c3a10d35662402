/** The one error of this room: input that cannot be used as rules, or as an event. */

/**
 * Thrown for bad input. What udev itself reports and lives with (a line that does not parse) is no error here but a
 * {@link Diagnostic}.
 *
 * `where` names the place: a file, `file:line`, or what the user wrote.
 */
export class RulesError extends Error {
  override readonly name = "RulesError";
  readonly where: string;

  /**
   * @param action - what was being done, as it follows "Cannot".
   * @param where - what was read.
   * @param reason - what was found and what was expected.
   */
  constructor(action: string, where: string, reason: string) {
    super(`Cannot ${action}: ${where === "" ? "" : `${where} `}${reason}`);
    this.where = where;
  }
}
