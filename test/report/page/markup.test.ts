import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { html, jsonForScript, trusted, visible, withUnits } from "../../../src/report/page/markup.ts";

/** What somebody who wants markup in a page would try. */
const HOSTILE = fc.oneof(
  fc.string({ unit: "binary" }),
  fc
    .array(
      fc.constantFrom(
        "<",
        ">",
        '"',
        "'",
        "&",
        "</script>",
        "<!--",
        "]]>",
        "\0",
        "\u2028",
        "\u202e",
        "a",
        " ",
      ),
    )
    .map((parts) => parts.join("")),
);

describe("a template", () => {
  test("lets no value become markup, neither in text nor in an attribute", () => {
    fc.assert(
      fc.property(HOSTILE, (text) => {
        const inner = html`<b title="${text}">${text}</b>`.text.slice('<b title="'.length, -"</b>".length);
        const at = inner.indexOf('">');
        for (const part of [inner.slice(0, at), inner.slice(at + 2)]) expect(part).not.toMatch(/[<>"']/);
        expect(decoded(inner.slice(at + 2))).toBe(visible(text));
      }),
    );
  });

  test("takes markup and lists as they are, numbers as digits, and nothing as nothing", () => {
    expect(html`<i>${html`<b>${1}</b>`}${["<", undefined, [2]]}${trusted("<hr>")}</i>`.text).toBe(
      "<i><b>1</b>&lt;2<hr></i>",
    );
  });

  test("lays its own lines out as one space, and leaves those of values alone", () => {
    expect(
      html`<pre>
        ${"a\n  b"}
      </pre>`.text,
    ).toBe("<pre> a\n  b </pre>");
  });
});

function decoded(text: string): string {
  return text
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'")
    .replaceAll("&amp;", "&");
}

test("characters that cannot be seen, or turn the text around them, are shown as escapes", () => {
  expect(visible("a\u202eb\u0000c\u200bd\ud800e\n\tf\u00e4\u{1f4a5}")).toBe(
    "a\\u202eb\\u0000c\\u200bd\\ud800e\n\tf\u00e4\u{1f4a5}",
  );
});

test("JSON in a script is the same value, and cannot end the script", () => {
  fc.assert(
    fc.property(fc.array(HOSTILE), (texts) => {
      const { text } = jsonForScript({ texts });
      expect(text).not.toMatch(/[<>&\u2028\u2029]/);
      expect(JSON.parse(text)).toEqual({ texts: texts.map(visible) });
    }),
  );
});

test("numbers stay with their units, and other words do not", () => {
  expect(withUnits("5.2 s, 100 %, 3 GiB, 5 steps")).toBe("5.2\u00a0s, 100\u00a0%, 3\u00a0GiB, 5 steps");
});
