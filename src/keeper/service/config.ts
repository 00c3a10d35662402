/** The configuration file of a service: JSON, checked before anything is done with it. */
import * as v from "valibot";

/** Where and how the journal is written. */
export interface JournalConfig {
  readonly directory: string;
  /** Size at which a file is put aside, bytes. */
  readonly maxBytes?: number | undefined;
  /** How many that were put aside are kept. */
  readonly files?: number | undefined;
}

/** What a configuration file says. */
export interface ServiceConfig {
  /** As on the command line. */
  readonly targets: readonly string[];
  /** Where metrics are served, `HOST:PORT`. */
  readonly listen?: string | undefined;
  /** Where metrics are written. */
  readonly textfile?: string | undefined;
  readonly journal?: JournalConfig | undefined;
  readonly lookEverySeconds?: number | undefined;
}

/** A configuration that cannot be used. Exit code 2. */
export class ServiceConfigError extends Error {
  override readonly name = "ServiceConfigError";
}

/** A file that is larger is none. */
const MAX_TEXT = 4 << 20;
const MAX_TARGETS = 10_000;

const absolutePath = v.pipe(
  v.string("expected a path"),
  v.regex(/^\/[^\0]*$/, 'expected an absolute path such as "/var/lib/kdump-hotplug"'),
);

function wholeNumber(
  from: number,
  to: number,
): v.SchemaWithPipe<
  readonly [
    v.NumberSchema<string>,
    v.IntegerAction<number, string>,
    v.MinValueAction<number, number, string>,
    v.MaxValueAction<number, number, string>,
  ]
> {
  const words = `expected a whole number from ${from} to ${to}`;
  return v.pipe(v.number(words), v.integer(words), v.minValue(from, words), v.maxValue(to, words));
}

const schema = v.strictObject(
  {
    targets: v.pipe(
      v.array(v.string('expected a TARGET such as "qmp:/run/guests/*.sock"'), "expected a list of TARGETs"),
      v.maxLength(MAX_TARGETS, `expected at most ${MAX_TARGETS} TARGETs`),
    ),
    listen: v.optional(
      v.pipe(
        v.string('expected HOST:PORT such as "127.0.0.1:9807"'),
        v.regex(/^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$/, 'expected HOST:PORT such as "127.0.0.1:9807"'),
      ),
    ),
    textfile: v.optional(absolutePath),
    journal: v.optional(
      v.strictObject(
        {
          directory: absolutePath,
          maxBytes: v.optional(wholeNumber(4096, 2 ** 40)),
          files: v.optional(wholeNumber(1, 10_000)),
        },
        problemOf("an object with directory, maxBytes, files"),
      ),
    ),
    lookEverySeconds: v.optional(
      v.pipe(
        v.number("expected seconds from 0.1 to 3600"),
        v.minValue(0.1, "expected seconds from 0.1 to 3600"),
        v.maxValue(3600, "expected seconds from 0.1 to 3600"),
      ),
    ),
  },
  problemOf("an object with targets, listen, textfile, journal, lookEverySeconds"),
);

/** What is wrong with an object's fields. */
function problemOf(form: string): (issue: v.StrictObjectIssue) => string {
  return (issue) => {
    const key = issue.path?.at(-1)?.key;
    if (issue.expected === "never") return `there is no such field; expected ${form}`;
    return key === undefined || issue.received !== "undefined" ? `expected ${form}` : "it is missing";
  };
}

/**
 * Reads `text`, the content of the file `path`.
 *
 * @param problemOfTarget what is wrong with a TARGET, undefined where nothing is.
 * @throws {ServiceConfigError} which names the field and says what was expected: `FILE: journal.files: expected …`.
 */
export function parseServiceConfig(
  text: string,
  path: string,
  problemOfTarget: (target: string) => string | undefined,
): ServiceConfig {
  if (text.length > MAX_TEXT)
    throw new ServiceConfigError(`${path}: it has ${text.length} characters; expected at most ${MAX_TEXT}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ServiceConfigError(`${path}: it is no JSON: ${error instanceof Error ? error.message : ""}`, {
      cause: error,
    });
  }
  const read = v.safeParse(schema, value);
  if (!read.success) {
    const problems = read.issues.map(({ path: keys, message }) => {
      const field = (keys ?? []).map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`));
      return `${field.join("").replace(/^\./, "") || "the whole"}: ${message}`;
    });
    throw new ServiceConfigError(`${path}: ${problems.join("; ")}`);
  }
  for (const [i, target] of read.output.targets.entries()) {
    const problem = problemOfTarget(target);
    if (problem !== undefined) throw new ServiceConfigError(`${path}: targets[${i}]: ${problem}`);
  }
  return read.output;
}
