/** Tokens that do: properties, tags, names, attribute writes, and the RUN list. */
import { replaceChars } from "./clean.ts";
import { cut, fits, NAME_SIZE, PATH_SIZE } from "./dialect.ts";
import type { Step } from "./step.ts";
import { commandSize, compileTemplate, expand, parseElsewhere, type Template } from "./substitute.ts";
import type { EventState, FinalKey } from "./state.ts";
import type { Token } from "./token.ts";

/** A token that always lets the line go on. */
export function assignStep(token: Token): Step {
  const assign = assignment(token);
  return {
    token,
    apply: (state) => {
      assign(state);
      return true;
    },
    found: () => {
      throw new TypeError(`${token.kind} compares nothing`);
    },
  };
}

type Assignment = (state: EventState) => void;

function assignment(token: Token): Assignment {
  const template = compileTemplate(token.value);
  switch (token.kind) {
    case "option-string-escape":
      return (state) => void (state.escape = token.value === "none" ? "none" : "replace");
    case "option-db-persist":
    case "option-watch":
    case "option-link-priority":
    case "option-log-level":
      return (state) => record(state, token.text, token.value);
    case "option-static-node":
      // Applied when udevd starts; events pass it by.
      return () => undefined;
    case "set-owner":
    case "set-group":
      return (state) => setOwner(token, template, state);
    case "set-mode":
      return (state) => setMode(token, template, state);
    case "set-tag":
      return (state) => setTag(token, template, state);
    case "set-seclabel":
      return (state) => setSeclabel(token, template, state);
    case "set-env":
      return (state) => setProperty(token, template, state);
    case "set-name":
      return (state) => setName(token, template, state);
    case "set-symlink":
      return (state) => setLinks(token, template, state);
    case "set-attr":
      return (state) => writeAttribute(token, template, state);
    case "set-sysctl": {
      const name = compileTemplate(token.attribute!);
      return (state) => writeSysctl(token, name, template, state);
    }
    case "run-builtin":
      return (state) => addRun("builtin", token, template, state);
    case "run-program":
      return (state) => addRun("program", token, template, state);
    default:
      throw new TypeError(`${token.kind} assigns nothing`);
  }
}

function record(state: EventState, what: string, value: string): void {
  state.actions.push({ kind: "setting", what, value, ...state.place });
}

/** Whether the key is still open; `:=` closes it behind itself. */
function isOpen(key: FinalKey, token: Token, state: EventState): boolean {
  if (state.final.has(key)) return false;
  if (token.operator === ":=") state.final.add(key);
  return true;
}

/** The value, or undefined where it does not fit: then the token is not applied. */
function fitting(template: Template, size: number, token: Token, state: EventState): string | undefined {
  const text = expand(template, state, size);
  if (text === undefined)
    state.warn(
      `The value is truncated while substituting into '${token.value}', refusing to apply the ${token.key} key.`,
    );
  return text;
}

function setOwner(token: Token, template: Template, state: EventState): void {
  const key = token.kind === "set-owner" ? "owner" : "group";
  if (!isOpen(key, token, state)) return;
  const name = fitting(template, NAME_SIZE, token, state);
  if (name === undefined) return;
  state[key] = name;
  record(state, token.key, name);
}

function setMode(token: Token, template: Template, state: EventState): void {
  if (!isOpen("mode", token, state)) return;
  const text = fitting(template, NAME_SIZE, token, state);
  if (text === undefined) return;
  if (!/^[0-7]{1,5}$/.test(text)) {
    state.warn(`Failed to parse mode '${text}', ignoring.`);
    return;
  }
  state.mode = Number.parseInt(text, 8);
  record(state, token.key, text);
}

/** Takes effect at once for later TAG matches, but for what is taken away ({@link Dialect.removedTagsMatch}). */
function setTag(token: Token, template: Template, state: EventState): void {
  const tag = fitting(template, PATH_SIZE, token, state);
  if (tag === undefined) return;
  if (token.operator === "=") state.clearTags();
  if (!/^[0-9A-Za-z_-]*$/.test(tag)) state.warn(`Invalid tag name '${tag}', ignoring.`);
  else if (token.operator === "-=") state.removeTag(tag);
  else state.addTag(tag);
  record(state, `TAG${token.operator}`, tag);
}

function setSeclabel(token: Token, template: Template, state: EventState): void {
  const label = fitting(template, commandSize(state.dialect), token, state);
  if (label !== undefined) record(state, `SECLABEL{${token.attribute}}`, label);
}

/** `=""` unsets, `+=` appends with a blank between. */
function setProperty(token: Token, template: Template, state: EventState): void {
  const name = token.attribute!;
  let text: string | undefined;
  if (token.value === "") {
    if (token.operator === "+=") return;
  } else {
    const added = fitting(template, NAME_SIZE, token, state);
    if (added === undefined) return;
    const clean = state.escape === "replace" && state.dialect.escapesEnv ? replaceChars(added, "") : added;
    const before = token.operator === "+=" ? state.property(name) : undefined;
    text = before === undefined ? clean : `${before} ${clean}`;
    if (!fits(text, NAME_SIZE)) {
      if (state.dialect.overflow === "refuse") {
        state.warn(`The buffer for the property '${name}' is full, refusing to append the new value.`);
        return;
      }
      text = cut(text, NAME_SIZE - 1);
    }
  }
  state.setProperty(name, text);
  state.actions.push({ kind: "property", name, value: text, ...state.place });
}

function setName(token: Token, template: Template, state: EventState): void {
  if (!isOpen("name", token, state)) return;
  if (state.device.ifindex === undefined && state.dialect.nameNeedsInterface) {
    state.warn(`Only network interfaces can be renamed, ignoring NAME="${token.value}".`);
    return;
  }
  const name = fitting(template, PATH_SIZE, token, state);
  if (name === undefined) return;
  state.name = state.escape === "none" ? name : replaceChars(name, "/");
  record(state, token.key, state.name);
}

/** Several links in one value are separated by blanks; blanks in what is substituted become `_`. */
function setLinks(token: Token, template: Template, state: EventState): void {
  if (!state.device.node || !isOpen("symlink", token, state)) return;
  if (token.operator === "=" || token.operator === ":=") state.links = new Set();
  const text = expand(template, state, PATH_SIZE, state.escape !== "none");
  if (text === undefined) {
    state.warn(`The path is truncated while substituting into '${token.value}', refusing to add the link.`);
    return;
  }
  const clean = state.escape === "none" ? text : replaceChars(text, state.escape === "unset" ? "/ " : "/");
  for (const link of clean.split(/[ \t\n\v\f\r]+/)) {
    if (link === "" || state.links.has(link) === (token.operator !== "-=")) continue;
    if (token.operator === "-=") state.links.delete(link);
    else state.links.add(link);
    record(state, token.key, link);
  }
}

/** Written at once, while the rules are evaluated: this is how rules bring memory online. */
function writeAttribute(token: Token, template: Template, state: EventState): void {
  const name = token.attribute!;
  const elsewhere = parseElsewhere(name);
  let file = `/sys${state.device.devpath}/${name}`;
  if (elsewhere) {
    const device = state.findDevice(elsewhere.subsystem, elsewhere.sysname);
    if (device !== "absent") file = `/sys${device.devpath}/${elsewhere.rest}`;
  }
  if (file.includes("/*/")) {
    // udev would take the first directory that has the rest of the path; no directories are known here.
    state.warn(`Which file ${file} is cannot be told without looking into sysfs; the write is left out.`);
    return;
  }
  const text = fitting(template, NAME_SIZE, token, state);
  if (text === undefined) return;
  if (!elsewhere) state.wrote(name, text);
  state.actions.push({ kind: "attribute", file, value: text, ...state.place });
}

function writeSysctl(token: Token, name: Template, template: Template, state: EventState): void {
  const key = fitting(name, PATH_SIZE, token, state);
  const text = fitting(template, NAME_SIZE, token, state);
  if (key === undefined || text === undefined) return;
  state.actions.push({ kind: "sysctl", name: key, value: text, ...state.place });
}

/** `=` and `:=` empty the list, builtins included; `:=` closes it. */
function addRun(kind: "program" | "builtin", token: Token, template: Template, state: EventState): void {
  if (!isOpen("run", token, state)) return;
  if (token.operator !== "+=") state.run = [];
  if (state.dialect.runSubstitution === "at-execution") {
    state.run.push({ kind, command: template, ...state.place });
    return;
  }
  const command = fitting(template, commandSize(state.dialect), token, state);
  if (command !== undefined) state.run.push({ kind, command, ...state.place });
}
