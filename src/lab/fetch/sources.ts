/** apt's two formats of package sources (sources.list(5)), read as far as the lab needs them. */

/** One enabled source of binary packages. */
export interface PackageSource {
  /** Where it was read, `FILE:LINE`, for messages. */
  readonly origin: string;
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Options by their lower-case deb822 name, as they were written. */
  readonly options: ReadonlyMap<string, string>;
}

/** A source that apt itself would refuse. */
export class SourcesError extends Error {
  override readonly name = "SourcesError";
}

/** The one-line format's option names that differ from the deb822 ones in more than case. */
const ONE_LINE_NAMES: ReadonlyMap<string, string> = new Map([
  ["arch", "architectures"],
  ["lang", "languages"],
  ["target", "targets"],
]);

/**
 * Reads a `.list` file: one source per line, `deb [ option=value ... ] URI SUITE COMPONENT...`.
 *
 * @returns the sources of binary packages; `deb-src` lines and comments are left out.
 * @throws {SourcesError} where a line is not of that form.
 */
export function parseOneLineSources(text: string, file: string): readonly PackageSource[] {
  const sources: PackageSource[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const origin = `${file}:${index + 1}`;
    const line = raw.replace(/#.*$/, "").trim();
    if (line === "") continue;
    const match = /^(\S+)\s+(?:\[([^\]]*)\]\s*)?(\S.*)$/.exec(line);
    if (match === null) throw new SourcesError(`Cannot read ${origin}: expected "deb URI SUITE COMPONENT"`);
    const [, type, optionText = "", rest = ""] = match;
    if (type === "deb-src") continue;
    if (type !== "deb")
      throw new SourcesError(`Cannot read ${origin}: expected "deb" or "deb-src", found "${type}"`);
    // The only blanks in a URI are those of `cdrom:[label with blanks]/`.
    const words = rest.match(/(?:\[[^\]]*\]|[^\s[])+/g) ?? [];
    const [uri, suite, ...components] = words;
    if (uri === undefined || suite === undefined) {
      throw new SourcesError(`Cannot read ${origin}: expected a URI and a suite, found "${rest}"`);
    }
    const options = parseBracketOptions(optionText, origin);
    sources.push({ origin, uris: [uri], suites: [suite], components, options });
  }
  return sources;
}

function parseBracketOptions(text: string, origin: string): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  for (const word of text.split(/\s+/).filter((part) => part !== "")) {
    const match = /^([A-Za-z-]+?)([+-]?)=(.*)$/.exec(word);
    if (match === null)
      throw new SourcesError(`Cannot read ${origin}: expected option=value, found "${word}"`);
    const [, name = "", sign, value = ""] = match;
    const lower = name.toLowerCase();
    const suffix = sign === "+" ? "-add" : sign === "-" ? "-remove" : "";
    options.set((ONE_LINE_NAMES.get(lower) ?? lower) + suffix, value);
  }
  return options;
}

/**
 * Reads a `.sources` file: deb822 stanzas, each of which may name several URIs and suites.
 *
 * @returns the enabled sources of binary packages.
 * @throws {SourcesError} where a line is no field, or a stanza has no URI or suite.
 */
export function parseDeb822Sources(text: string, file: string): readonly PackageSource[] {
  const sources: PackageSource[] = [];
  for (const stanza of stanzas(text, file)) {
    const words = (name: string): readonly string[] =>
      (stanza.fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (!words("types").includes("deb") || !isEnabled(stanza.fields.get("enabled"))) continue;
    const [uris, suites] = [words("uris"), words("suites")];
    if (uris.length === 0 || suites.length === 0) {
      throw new SourcesError(`Cannot read ${stanza.origin}: expected the fields URIs and Suites`);
    }
    const options = new Map(stanza.fields);
    for (const name of ["types", "uris", "suites", "components", "enabled"]) options.delete(name);
    sources.push({ origin: stanza.origin, uris, suites, components: words("components"), options });
  }
  return sources;
}

interface Stanza {
  readonly origin: string;
  readonly fields: Map<string, string>;
}

/** Splits deb822 text. A `#` at the start of a line is a comment, in the middle of a field too. */
function stanzas(text: string, file: string): readonly Stanza[] {
  const result: Stanza[] = [];
  let current: Stanza | undefined;
  let field: string | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const origin = `${file}:${index + 1}`;
    if (line.startsWith("#")) continue;
    if (line.trim() === "") {
      current = undefined;
      field = undefined;
    } else if (/^\s/.test(line)) {
      if (current === undefined || field === undefined) {
        throw new SourcesError(`Cannot read ${origin}: a continuation line continues nothing`);
      }
      current.fields.set(field, `${current.fields.get(field) ?? ""}\n${line.trimEnd()}`);
    } else {
      const match = /^([^\s:]+)\s*:\s*(.*)$/.exec(line.trimEnd());
      if (match === null)
        throw new SourcesError(`Cannot read ${origin}: expected "Field: value", found "${line}"`);
      if (current === undefined) {
        current = { origin, fields: new Map() };
        result.push(current);
      }
      field = (match[1] ?? "").toLowerCase();
      current.fields.set(field, match[2] ?? "");
    }
  }
  return result;
}

/** apt's own idea of "no" (StringToBool in apt-pkg/contrib/strutl.cc). */
function isEnabled(value: string | undefined): boolean {
  return !/^(?:no|false|without|off|disable|0)$/i.test(value?.trim() ?? "yes");
}
