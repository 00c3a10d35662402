/** Replaces `$...` and `%...` by what they stand for in an event (`udev_event_apply_format`). */
import { replaceInputChars, replaceWhitespace, trimEnd } from "./clean.ts";
import { sysnumOf } from "./device.ts";
import { cut, type Dialect, fits } from "./dialect.ts";
import { type Format, hasFormat, parseFormat, type Variable } from "./format.ts";
import type { EventState } from "./state.ts";

/** A value that is ready to be used: text, or text with substitutions. */
export type Template = string | Format;

/** Takes a value apart once, so that events need not. */
export function compileTemplate(value: string): Template {
  return hasFormat(value) ? parseFormat(value) : value;
}

/**
 * The text of `template` in this event.
 *
 * @param size - bytes of udev's buffer, its terminating zero included.
 * @param underscores - whether blanks in what is substituted become `_` (SYMLINK).
 * @returns undefined where it does not fit and this dialect refuses that; older ones cut it.
 */
export function expand(
  template: Template,
  state: EventState,
  size: number,
  underscores = false,
): string | undefined {
  const text = typeof template === "string" ? template : expandPieces(template, state, underscores);
  if (fits(text, size)) return text;
  return state.dialect.overflow === "refuse" ? undefined : cut(text, size - 1);
}

function expandPieces(format: Format, state: EventState, underscores: boolean): string {
  let text = "";
  for (const piece of format.pieces) {
    if (piece.kind === "text") {
      text += piece.text;
      continue;
    }
    const value = valueOf(piece.variable, piece.argument, state);
    // What cannot be substituted ends the text: the rest is not copied.
    if (value === undefined) {
      state.warn(`Failed to substitute $${piece.variable}, the rest of the value is ignored.`);
      return text;
    }
    text += underscores && piece.variable !== "result" ? replaceWhitespace(value) : value;
  }
  if (format.brokenAt !== undefined) state.warn("Invalid format string, the rest of the value is ignored.");
  return text;
}

/** @returns "" for what is not there, undefined for what cannot be asked for. */
function valueOf(variable: Variable, argument: string | undefined, state: EventState): string | undefined {
  const { device } = state;
  switch (variable) {
    case "kernel":
      return device.sysname;
    case "number":
      return sysnumOf(device.sysname);
    case "devpath":
      return device.devpath;
    case "id":
      return state.parent?.sysname ?? "";
    case "driver":
      return state.parent?.driver ?? "";
    case "attr":
      return argument === undefined ? undefined : attributeText(argument, state);
    case "env":
      return argument === undefined ? undefined : (state.property(argument) ?? "");
    case "major":
      return String(device.node?.major ?? 0);
    case "minor":
      return String(device.node?.minor ?? 0);
    case "result":
      return resultText(argument, state.result);
    case "parent":
      return device.parent?.node?.name ?? "";
    case "devnode":
      return device.node ? `/dev/${device.node.name}` : "";
    case "name":
      return state.name ?? device.node?.name ?? device.sysname;
    case "links":
      return [...state.links].join(" ");
    case "root":
      return "/dev";
    case "sys":
      return "/sys";
  }
}

/** `$attr{name}`: of the event's device, else of the parent that the line's matches chose. */
function attributeText(name: string, state: EventState): string {
  const value =
    readElsewhere(name, state) ??
    state.attribute(state.device, name) ??
    (state.parent && state.parent !== state.device ? state.attribute(state.parent, name) : undefined);
  return value === undefined ? "" : replaceInputChars(trimEnd(value));
}

/** A place written as `[subsystem/sysname]rest`. */
export interface ElsewherePath {
  readonly subsystem: string;
  readonly sysname: string;
  /** Without a leading slash; "" where only the device is named. */
  readonly rest: string;
}

/** Reads `[subsystem/sysname]rest`; undefined where `text` is not of that form. */
export function parseElsewhere(text: string): ElsewherePath | undefined {
  const match = /^\[([^/]*)\/([^\]]*)\]\/?(.*)$/s.exec(text);
  return match ? { subsystem: match[1]!, sysname: match[2]!, rest: match[3]! } : undefined;
}

/**
 * The value of `[subsystem/sysname]attribute` (`udev_resolve_subsys_kernel`): "" where the device has no such
 * attribute, undefined where there is no such device, or `text` is not of that form.
 */
export function readElsewhere(text: string, state: EventState): string | undefined {
  const path = parseElsewhere(text);
  if (!path || path.rest === "") return undefined;
  const device = state.findDevice(path.subsystem, path.sysname);
  return device === "absent" ? undefined : (state.attribute(device, path.rest) ?? "");
}

/** `$result`, or its word N, or all from word N on (`{N+}`). */
function resultText(argument: string | undefined, result: string | undefined): string | undefined {
  // Without a result nobody looks at the argument.
  if (result === undefined) return "";
  const match = argument === undefined ? null : /^[ \t\n\v\f\r]*\+?(\d{1,9})(\+?)$/.exec(argument);
  if (argument !== undefined && !match) return undefined;
  const index = Number(match?.[1] ?? 0);
  if (index === 0) return result;
  const words = [...result.matchAll(/[^ \t\n\v\f\r]+/g)];
  const word = words[index - 1];
  if (!word) return "";
  return match?.[2] === "+" ? result.slice(word.index) : word[0];
}

/** Bytes of a command's buffer. */
export function commandSize(dialect: Dialect): number {
  return dialect.commandSize;
}
