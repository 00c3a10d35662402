/** QMP's JSON: 64-bit integers stay exact in both directions. */
import { parse, stringify } from "lossless-json";

/**
 * What only a number that a double may not hold has: 16 digits (2^53 has 16), or an exponent. Where a string looks like
 * that, nothing is lost but time.
 */
const MAY_BE_INEXACT = /\d{16}|\d[eE]/;

/** Digits of 18446744073709551615, the largest integer that QMP has, and a sign. */
const INTEGER_TEXT_LIMIT = 21;

/** A number of JSON text: `number` where that is exact or where it is a fraction, else `bigint`. */
function numberOf(text: string): number | bigint {
  if (/^-?\d+$/.test(text)) {
    if (text.length > INTEGER_TEXT_LIMIT) {
      throw new SyntaxError(`integer of ${text.length} digits, QMP has none beyond 64 bits`);
    }
    const value = Number(text);
    return Number.isSafeInteger(value) ? value : BigInt(text);
  }
  const value = Number(text);
  if (!Number.isFinite(value)) throw new SyntaxError(`number "${text.slice(0, 40)}" is out of range`);
  return value;
}

/**
 * Parses one QMP message.
 *
 * @returns plain values; integers beyond 2^53 are `bigint`.
 * @throws {SyntaxError} where the text is not JSON, or nests so deeply that no QEMU wrote it.
 */
export function parseQmp(text: string): unknown {
  try {
    return parsePlain(text) ?? parse(text, null, numberOf);
  } catch (error) {
    if (error instanceof RangeError) throw new SyntaxError("JSON nests too deeply", { cause: error });
    throw error;
  }
}

/**
 * A guest with 240 DIMMs has 30 KiB of text about them, and is asked for it up to 100 times a second: JSON's own parser
 * takes a tenth of the time.
 *
 * @returns undefined where it might change a number, or where the text is none: the other parser says what is wrong.
 */
function parsePlain(text: string): unknown {
  if (MAY_BE_INEXACT.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Refuses what JSON would change silently: a number that is not what its author meant by then. */
function exact(_key: string, value: unknown): unknown {
  if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new TypeError(`Cannot send ${value} to QEMU exactly: pass integers beyond 2^53 as bigint`);
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TypeError(`Cannot send ${value} to QEMU: JSON has no such number`);
  }
  return value;
}

/**
 * Writes one QMP message, without a line end.
 *
 * @throws {TypeError} for numbers that JSON cannot carry exactly.
 */
export function stringifyQmp(value: unknown): string {
  const text = stringify(value, exact);
  if (text === undefined) throw new TypeError("Cannot send undefined to QEMU");
  return text;
}
