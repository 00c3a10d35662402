/** HTML and SVG as text. What is put into a template is escaped there: guests choose much of what a page shows. */

/** Text that is markup already. Only {@link html} makes it, and {@link trusted} from constants of this program. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What a template takes: text and numbers are escaped, markup is not, lists are put one after the other. */
export type Part = string | number | Markup | undefined | readonly Part[];

/**
 * A template whose values cannot become markup, in text and in attributes between double quotes. What is between its
 * lines is one space, so that how it is laid out in the source weighs nothing in the page.
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  const fixed = packed.get(strings) ?? strings.map((text) => text.replaceAll(/\s*\n\s*/g, " "));
  packed.set(strings, fixed);
  let text = fixed[0]!;
  for (const [i, part] of parts.entries()) text += render(part) + fixed[i + 1]!;
  return new Markup(text);
}

/** A template's own text, once for each place in the source. */
const packed = new WeakMap<TemplateStringsArray, readonly string[]>();

/** Markup that this program has written itself; never with anything in it that comes from elsewhere. */
export function trusted(text: string): Markup {
  return new Markup(text);
}

function render(part: Part): string {
  if (part === undefined) return "";
  if (part instanceof Markup) return part.text;
  if (typeof part === "string") return escapeHtml(part);
  return typeof part === "number" ? String(part) : part.map(render).join("");
}

/** `text` with numbers that stay on one line with their unit. */
export function withUnits(text: string): string {
  return text.replaceAll(/(\d) (%|s|ms|bytes|[KMGT]iB)(?!\w)/g, "$1\u00a0$2");
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** `text` for HTML, with {@link visible} characters only. */
export function escapeHtml(text: string): string {
  return visible(text).replaceAll(/[&<>"']/g, (c) => ENTITIES[c]!);
}

/**
 * Shows as escapes what cannot be seen or would turn the text around it: control and format characters (those of
 * writing direction among them), private ones, and halves of pairs. Line feeds and tabs stay.
 */
export function visible(text: string): string {
  return text.replaceAll(
    /[^\P{C}\n\t]|[\u2028\u2029]/gu,
    (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`,
  );
}

/**
 * A value as JSON that may stand inside of a script element: nothing in it can end the element or begin a comment, and
 * it is one line for every reader of JavaScript.
 */
export function jsonForScript(value: unknown): Markup {
  const json = JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "string" ? visible(inner) : inner,
  );
  return new Markup(
    json.replaceAll(/[<>&\u2028\u2029]/g, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`),
  );
}
