/** What was done about the distribution's rules. */
import type { Override } from "../targets/local/override-rules.ts";
import { SCHEMA_VERSION } from "./json.ts";
import { printable } from "./text.ts";

/** `keep local --install` and `--uninstall`, for people. */
export function overridesText(
  overrides: readonly Override[],
  removed: readonly string[],
  { install, dryRun }: { readonly install: boolean; readonly dryRun: boolean },
): string {
  if (!install)
    return removed.length === 0
      ? `${dryRun ? "Nothing was touched" : "No rules of kdump-hotplug were there"}\n`
      : removed.map((path) => `removed ${printable(path)}\n`).join("");
  if (overrides.length === 0) return "No rule reloads kdump: there is nothing to override\n";
  return overrides
    .map(
      ({ path, of, lines }) =>
        `${dryRun ? "would write" : "wrote"} ${printable(path)}: ${printable(of)} without what reloads kdump (line ${lines.join(", ")})\n`,
    )
    .join("");
}

/** The same, for programs. */
export function overridesJson(
  overrides: readonly Override[],
  removed: readonly string[],
): Readonly<Record<string, unknown>> {
  return { schemaVersion: SCHEMA_VERSION, overrides, removed };
}
