/** Tokens that compare: values of the event's device, and the group that must hold on one device above it. */
import { trimEnd } from "./clean.ts";
import type { UdevDevice } from "./device.ts";
import { NAME_SIZE } from "./dialect.ts";
import type { Found } from "./outcome.ts";
import { foundValue, type Read, type Step } from "./step.ts";
import { compileTemplate, expand, readElsewhere } from "./substitute.ts";
import type { EventState } from "./state.ts";
import type { Token } from "./token.ts";

/** One comparison with a device. */
interface Comparison {
  readonly token: Token;
  readonly holds: (state: EventState, device: UdevDevice) => boolean;
  readonly found: (state: EventState, device: UdevDevice) => Found;
}

/** A token that matches the event's device. */
export function matchStep(token: Token): Step {
  const { holds, found } = compare(token);
  return {
    token,
    apply: (state) => holds(state, state.device),
    found: (state) => ({ token, found: found(state, state.device) }),
  };
}

/**
 * The parent tokens of a line: all must hold on one and the same device, looked for from the event's device upwards
 * (`udev_rule_apply_parent_token_to_event`). The device that it is serves `$id`, `$driver` and `$attr` from then on.
 */
export function parentStep(tokens: readonly [Token, ...Token[]]): Step {
  const comparisons = tokens.map(compare);
  return {
    token: tokens[0],
    apply: (state) => {
      for (let device: UdevDevice | undefined = state.device; device; device = device.parent) {
        const candidate = device;
        if (comparisons.every(({ holds }) => holds(state, candidate))) {
          state.parent = candidate;
          return true;
        }
      }
      state.parent = undefined;
      return false;
    },
    found: (state) => foundInParents(tokens[0], comparisons, state),
  };
}

/** The token that no device fulfils, or else the first one: then no single device fulfils all. */
function foundInParents(
  first: Token,
  comparisons: readonly Comparison[],
  state: EventState,
): { readonly token: Token; readonly found: Found } {
  const devices: UdevDevice[] = [];
  for (let device: UdevDevice | undefined = state.device; device; device = device.parent)
    devices.push(device);
  const never = comparisons.find(({ holds }) => !devices.some((device) => holds(state, device)));
  if (!never) {
    const text = "no single device fulfils all of the line's parent matches";
    return { token: first, found: { value: undefined, text } };
  }
  const text = devices.map((device) => `${never.found(state, device).text} at ${device.sysname}`).join(", ");
  return { token: never.token, found: { value: undefined, text } };
}

function compare(token: Token): Comparison {
  const pattern = token.pattern!;
  if (token.kind === "match-tag" || token.kind === "parent-tag")
    return compareAny(
      token,
      (state, device) => (device === state.device ? state.matchedTags : device.tags),
      "tags",
    );
  if (token.kind === "match-symlink") return compareAny(token, (state) => state.links, "links");
  const read = reader(token);
  const missing = missingText(token);
  return {
    token,
    holds: (state, device) => {
      const value = read(state, device);
      return value !== undefined && pattern.test(value);
    },
    found: (state, device) => foundValue(read(state, device), missing),
  };
}

/** TAG, TAGS, SYMLINK: `==` asks for any, `!=` for none ({@link Dialect.negatedLists}). */
function compareAny(
  token: Token,
  all: (state: EventState, device: UdevDevice) => Iterable<string>,
  what: string,
): Comparison {
  const pattern = token.pattern!;
  const wanted = pattern.operator === "==";
  const holds = (state: EventState, device: UdevDevice): boolean => {
    const decides = wanted || state.dialect.negatedLists === "other";
    for (const one of all(state, device)) if (pattern.test(one) === decides) return wanted;
    return !wanted;
  };
  const found = (state: EventState, device: UdevDevice): Found => {
    const list = [...all(state, device)];
    return {
      value: undefined,
      text: list.length === 0 ? `no ${what}` : list.map((one) => JSON.stringify(one)).join(" "),
    };
  };
  return { token, holds, found };
}

function missingText({ kind, attribute }: Token): string {
  return kind === "match-attr" || kind === "parent-attr" ? `no attribute ${attribute}` : "nothing";
}

/** Where a token's value comes from. Only attributes can be missing; all else is then the empty string. */
function reader(token: Token): Read {
  switch (token.kind) {
    case "match-action":
      return (state) => state.event.action;
    case "match-devpath":
      return (state) => state.device.devpath;
    case "match-kernel":
    case "parent-kernel":
      return (_state, device) => device.sysname;
    case "match-subsystem":
    case "parent-subsystem":
      return (_state, device) => device.subsystem ?? "";
    case "match-driver":
    case "parent-driver":
      return (_state, device) => device.driver ?? "";
    case "match-name":
      return (state) => state.name ?? "";
    case "match-result":
      return (state) => state.result ?? "";
    case "match-env": {
      const name = token.attribute!;
      return (state) => state.property(name) ?? "";
    }
    case "match-const": {
      const name = token.attribute!;
      return (state) => readConstant(name, state);
    }
    case "match-sysctl": {
      const name = compileTemplate(token.attribute!);
      return (state) => readSysctl(expand(name, state, NAME_SIZE), state);
    }
    case "match-attr":
    case "parent-attr":
      return attributeReader(token);
    default:
      throw new TypeError(`${token.kind} compares nothing`);
  }
}

/**
 * An attribute's value, without blanks at its end unless the pattern ends in one. undefined where there is no such
 * attribute: then neither `==` nor `!=` holds (`token_match_attr`).
 */
function attributeReader(token: Token): Read {
  const name = token.attribute!;
  const keepBlanks = token.value === "" || /[ \t\n\v\f\r]$/.test(token.value);
  const trim = keepBlanks
    ? (value: string | undefined): string | undefined => value
    : (value: string | undefined): string | undefined => (value === undefined ? undefined : trimEnd(value));
  if (name.startsWith("[")) return (state) => trim(readElsewhere(name, state));
  const template = compileTemplate(name);
  if (typeof template === "string") return (state, device) => trim(state.attribute(device, template));
  return (state, device) => {
    const expanded = expand(template, state, NAME_SIZE);
    return expanded === undefined ? undefined : trim(state.attribute(device, expanded));
  };
}

/** What CONST is where nobody says: the machine that the RFC measured on. */
const CONSTANTS: Readonly<Record<string, string>> = { arch: "x86-64", virt: "kvm" };

function readConstant(name: string, state: EventState): string {
  const known = state.world.constant(name);
  if (known !== undefined) return known;
  const assumed = CONSTANTS[name] ?? "";
  state.assume(`CONST{${name}} is "${assumed}"`);
  return assumed;
}

function readSysctl(name: string | undefined, state: EventState): string | undefined {
  if (name === undefined) return undefined;
  const value = state.world.sysctl(name);
  if (value === undefined) state.assume(`there is no sysctl ${name}`);
  return trimEnd(value ?? "");
}
