/** What `udevadm test` prints, as values: systemd 257 in sections, 247 and 252 in a list. */

/** A write into sysfs that udev did, or in 257's test mode would have done. */
export interface AttributeWrite {
  readonly file: string;
  readonly value: string;
}

/** What came of an event. */
export interface TestOutcome {
  /** All that the device has in the end, without what only udev's database has. */
  readonly properties: Readonly<Record<string, string>>;
  /** Sorted. */
  readonly tags: readonly string[];
  /** `program COMMAND` or `builtin COMMAND`; 247 and 252 do not say which: `COMMAND`. */
  readonly run: readonly string[];
  /** Of PROGRAM and IMPORT{program}, as the log tells them. 247 logs neither these nor writes. */
  readonly programs: readonly string[];
  readonly writes: readonly AttributeWrite[];
}

/** Of the database, or of tags, which are compared by themselves. 257 has ID_PROCESSING until RUN is done. */
const NOT_OF_RULES = new Set(["USEC_INITIALIZED", "ID_PROCESSING", "TAGS", "CURRENT_TAGS"]);

/** Reads what `udevadm test` wrote to its standard output and standard error. */
export function parseTestOutput(stdout: string, stderr: string): TestOutcome {
  const all: [name: string, value: string][] = [];
  const run: string[] = [];
  // The first paragraph is a warning to people.
  const lines = stdout
    .slice(stdout.indexOf("\n\n") + 2)
    .replace(/\n+$/, "")
    .split("\n");
  const first = lines[0] === "Properties:" ? "Properties" : undefined;
  let section: string | undefined;
  for (const line of lines) {
    const header = first && /^([A-Z][A-Za-z ]+):$/.exec(line)?.[1];
    const command = /^ {2}RUN\{(program|builtin)\} : (.*)$/s.exec(line);
    if (header !== undefined) section = header;
    else if (section === "Queued commands" && command) run.push(`${command[1]} ${command[2]}`);
    else if (!first && line.startsWith("run: '")) run.push(line.slice("run: '".length, -1));
    else if (section === first) {
      const [, name, value] = (first ? /^ {2}([^=]+)=(.*)$/ : /^([^=]+)=(.*)$/).exec(line) ?? [];
      const last = all.at(-1);
      if (name !== undefined && value !== undefined) all.push([name, value]);
      // Of a value of several lines.
      else if (last) last[1] += `\n${line}`;
    }
  }
  const tags = new Map(all).get("CURRENT_TAGS")?.split(":") ?? [];
  return {
    properties: Object.fromEntries(all.filter(([name]) => !NOT_OF_RULES.has(name))),
    tags: tags.filter((tag) => tag !== "").sort(),
    run,
    programs: [
      ...stderr.matchAll(/: (?:Starting|Running in test mode, skipping execution of) '(.*)'\.?$/gm),
    ].map(([, command = ""]) => command),
    writes: parseWrites(stderr),
  };
}

function parseWrites(stderr: string): readonly AttributeWrite[] {
  const pattern = / (?:ATTR '(.*)' writing '(.*)'|.*skipping writing ATTR\{(.*)\}="(.*)"\.)$/gm;
  return [...stderr.matchAll(pattern)].map((match) => ({
    file: match[1] ?? match[3]!,
    value: match[2] ?? match[4]!,
  }));
}
