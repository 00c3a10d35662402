/** What scripts/api-report.mjs knows of the built declarations. */
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));

/** One export of the library. */
export interface ExportedName {
  readonly name: string;
  /** The declaration file. */
  readonly path: string;
  /** Its doc comment. */
  readonly comment: string;
  /** Its declaration, without comments. */
  readonly text: string;
}

interface ApiReport {
  readonly apiReport: () => string;
  readonly exportsOf: (entry: string) => readonly ExportedName[];
}

/** The script as a module: plain JavaScript, which has no types. */
export async function loadApiReport(): Promise<ApiReport> {
  const path: string = new URL("../../../scripts/api-report.mjs", import.meta.url).href;
  const module: unknown = await import(path);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the script exports
  return module as ApiReport;
}
