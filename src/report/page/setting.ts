/** What every page says of how it was made. */

/** What a command knows of its own run. */
export interface PageSetting {
  /** The command line, as a shell takes it. */
  readonly command: string;
  /** Of this program, Node and the machine it runs on: name and value. */
  readonly host: readonly (readonly [name: string, value: string])[];
}

/** Arguments as a shell takes them: quoted where they need it. */
export function shellLine(args: readonly string[]): string {
  return args
    .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}
