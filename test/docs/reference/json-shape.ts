/** The fields of JSON documents, found by looking at real ones. */

/** One field: its path, and the types that were seen there. */
export interface Field {
  /** `memory.missing[].start`. */
  readonly path: string;
  readonly types: readonly string[];
}

/** Objects whose keys are names of things, not of fields: `costs` has one for each cost. */
export interface ShapeOptions {
  readonly maps: readonly string[];
  /** Paths at which another document stands, which is described by itself, by the name of that. */
  readonly documents: ReadonlyMap<string, string>;
}

/** The fields of `samples` together; each behind the one that it is in. What a list has is told with the list. */
export function fieldsOf(samples: readonly unknown[], options: ShapeOptions): readonly Field[] {
  const found = new Map<string, Set<string>>();
  for (const sample of samples) look(sample, "", found, options);
  const inOrder: string[] = [];
  const add = (parent: string): void => {
    for (const path of found.keys())
      if (parentOf(path) === parent) {
        inOrder.push(path);
        add(path);
      }
  };
  add("");
  return inOrder
    .filter((path) => !path.endsWith("[]"))
    .map((path) => ({
      path,
      types: [...found.get(path)!].map((type) => listType(type, path, found)).sort(),
    }));
}

/** `list of string`. */
function listType(type: string, path: string, found: ReadonlyMap<string, ReadonlySet<string>>): string {
  const items = type === "list" ? found.get(`${path}[]`) : undefined;
  return items ? `list of ${[...items].map((item) => listType(item, `${path}[]`, found)).join(", ")}` : type;
}

/** Of `a.b` it is `a`, of `a[]` too. */
function parentOf(path: string): string {
  return path.endsWith("[]") ? path.slice(0, -2) : path.slice(0, Math.max(0, path.lastIndexOf(".")));
}

/** What stands at the paths that other documents have. */
export function nestedOf(
  samples: readonly unknown[],
  { maps, documents }: ShapeOptions,
): readonly (readonly [name: string, value: unknown])[] {
  const nested: (readonly [string, unknown])[] = [];
  const visit = (value: unknown, path: string): void => {
    const name = documents.get(path);
    if (name !== undefined && value !== null) nested.push([name, value]);
    else if (Array.isArray(value)) for (const each of value) visit(each, `${path}[]`);
    else if (isObject(value))
      for (const [key, each] of Object.entries(value)) visit(each, below(path, key, maps));
  };
  for (const sample of samples) visit(sample, "");
  return nested;
}

function look(value: unknown, path: string, found: Map<string, Set<string>>, options: ShapeOptions): void {
  if (path !== "") {
    const types = found.get(path) ?? new Set();
    found.set(path, types);
    types.add(options.documents.get(path) ?? typeOf(value));
    if (options.documents.has(path)) {
      if (value === null) types.add("null");
      return;
    }
  }
  if (Array.isArray(value)) for (const each of value) look(each, `${path}[]`, found, options);
  else if (isObject(value))
    for (const [key, each] of Object.entries(value))
      look(each, below(path, key, options.maps), found, options);
}

function below(path: string, key: string, maps: readonly string[]): string {
  const name = maps.includes(path) ? "NAME" : key;
  return path === "" ? name : `${path}.${name}`;
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "list";
  if (typeof value === "string" && /^0x[0-9a-f]+$/.test(value)) return "address";
  return typeof value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
