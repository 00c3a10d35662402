/** Readers of single fields in untrusted values. Each names the field's path in its error. */
import { LayoutError } from "./error.ts";

const ACTION = "read the layout";
const UNSIGNED_64_END = 1n << 64n;

/** Reads `value` with `reader`, or gives undefined where the field is absent or null. */
export function optional<T>(
  value: unknown,
  path: string,
  reader: (value: unknown, path: string) => T,
): T | undefined {
  return value === undefined || value === null ? undefined : reader(value, path);
}

export function arrayAt(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) {
    throw mismatch(value, path, "an array");
  }
  return value;
}

export function objectAt(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) {
    throw mismatch(value, path, "an object");
  }
  return value;
}

export function stringAt(value: unknown, path: string): string {
  if (typeof value !== "string") {
    throw mismatch(value, path, "a string");
  }
  return value;
}

export function booleanAt(value: unknown, path: string): boolean {
  if (typeof value !== "boolean") {
    throw mismatch(value, path, "true or false");
  }
  return value;
}

/** An address or a size: 0 <= value < 2^64, as bigint, or as number up to 2^53 - 1 (beyond, it is rounded). */
export function unsignedAt(value: unknown, path: string): bigint {
  if (typeof value === "bigint" && value >= 0n && value < UNSIGNED_64_END) {
    return value;
  }
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) {
    return BigInt(value);
  }
  throw mismatch(value, path, "an integer from 0 to 2^64 - 1, exact");
}

/** A count, number or index: 0 <= value < 2^53. */
export function countAt(value: unknown, path: string): number {
  const exact = unsignedAt(value, path);
  if (exact > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw mismatch(value, path, "an integer from 0 to 2^53 - 1");
  }
  return Number(exact);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mismatch(value: unknown, path: string, expected: string): LayoutError {
  return new LayoutError(ACTION, path, `is ${describe(value)}, expected ${expected}`);
}

/** What was found, short whatever it is: replies may be megabytes long. */
function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
    case "number":
    case "boolean":
      return String(value);
    case "bigint":
      return value < UNSIGNED_64_END && value > -UNSIGNED_64_END
        ? String(value)
        : "an integer of over 64 bits";
    case "undefined":
      return "missing";
    default:
      if (value === null) {
        return "null";
      }
      return Array.isArray(value) ? "an array" : "an object";
  }
}
