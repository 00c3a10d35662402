/** The one error of this room: something that cannot be simulated as asked. */

/**
 * Thrown for a description that cannot be read, a machine that cannot exist, and a step that a real machine would
 * refuse as well. Exit code 2.
 */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
  /** The part of the description, or the thing that was to be done. */
  readonly where: string;

  /** @param where - what was read or asked for. @param reason - what is wrong with it and what would be right. */
  constructor(where: string, reason: string) {
    super(`Cannot simulate ${where}: ${reason}`);
    this.where = where;
  }
}
