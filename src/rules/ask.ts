/** Tokens that ask the world: TEST, PROGRAM, IMPORT. Nothing is run: results are inputs, or assumed and said so. */
import { parseProperty, replaceInputChars, trimBlanks, trimNewlines } from "./clean.ts";
import type { UdevDevice } from "./device.ts";
import { PATH_SIZE } from "./dialect.ts";
import { compileGlob } from "./glob.ts";
import type { Found } from "./outcome.ts";
import type { Step } from "./step.ts";
import { commandSize, compileTemplate, expand, parseElsewhere, type Template } from "./substitute.ts";
import type { EventState } from "./state.ts";
import type { Token } from "./token.ts";
import type { ProgramResult } from "./world.ts";

/** A token that is true or false, and turned round by `!=`. */
export function askStep(token: Token): Step {
  const ask = question(token);
  const wanted = token.operator === "==";
  return {
    token,
    apply: (state) => {
      const answer = ask(state);
      // What does not fit into its buffer matches neither way.
      return answer !== undefined && answer === wanted;
    },
    found: (state) => ({ token, found: foundText(token, state) }),
  };
}

function foundText(token: Token, state: EventState): Found {
  const answer = token.operator === "==" ? "no" : "yes";
  const last = state.actions.at(-1);
  if (last?.kind === "program" && (token.kind === "program" || token.kind === "import-program"))
    return {
      value: String(last.result.exit),
      text: `exit status ${last.result.exit}${last.assumed ? " (assumed)" : ""}`,
    };
  const text = token.kind === "test" ? `no such file, or not that mode` : `nothing to import`;
  return { value: undefined, text: answer === "no" ? text : "it is there" };
}

/** @returns undefined where the answer is "does not match" for both operators. */
type Question = (state: EventState) => boolean | undefined;

function question(token: Token): Question {
  const template = compileTemplate(token.value);
  switch (token.kind) {
    case "test": {
      const mode = token.attribute ? Number.parseInt(token.attribute, 8) : undefined;
      return (state) => testFile(expand(template, state, PATH_SIZE), mode, state);
    }
    case "program":
      return (state) => runProgram(template, state);
    case "import-program":
      return (state) => importProgram(template, state);
    case "import-builtin":
      return (state) => importBuiltin(token.value, template, state);
    case "import-file":
      return (state) => importFile(expand(template, state, PATH_SIZE), state);
    case "import-parent":
      return (state) => importParent(expand(template, state, PATH_SIZE), state);
    case "import-db":
      return (state) => importKnown("database", token.value, state.world.database(token.value), state);
    case "import-cmdline": {
      const { value } = token;
      return (state) => {
        const known = state.world.commandLine(value);
        // A word without a value is imported as 1.
        return importKnown("kernel command line", value, known === "" ? "1" : known, state);
      };
    }
    default:
      throw new TypeError(`${token.kind} asks nothing`);
  }
}

/** `S_IFREG | 0644`: attributes of the event's device are files; which mode they have, only the world can know. */
const ATTRIBUTE_MODE = 0o100644;
const DIRECTORY_MODE = 0o40755;

function testFile(
  value: string | undefined,
  mode: number | undefined,
  state: EventState,
): boolean | undefined {
  if (value === undefined) return undefined;
  const path = absolutePath(value, state);
  if (path === undefined) return false;
  const found = fileMode(path, state);
  return found !== null && (mode === undefined || (found & mode) > 0);
}

function absolutePath(value: string, state: EventState): string | undefined {
  if (value.startsWith("/")) return value;
  const elsewhere = parseElsewhere(value);
  if (!elsewhere) return `/sys${state.device.devpath}/${value}`;
  const device = state.findDevice(elsewhere.subsystem, elsewhere.sysname);
  if (device === "absent") return undefined;
  return `/sys${device.devpath}${elsewhere.rest === "" ? "" : `/${elsewhere.rest}`}`;
}

function fileMode(path: string, state: EventState): number | null {
  const known = state.world.fileMode(path);
  if (typeof known === "number") return known;
  for (let device: UdevDevice | undefined = state.device; device; device = device.parent) {
    const root = `/sys${device.devpath}`;
    if (path === root) return DIRECTORY_MODE;
    if (path.startsWith(`${root}/`) && state.attribute(device, path.slice(root.length + 1)) !== undefined)
      return ATTRIBUTE_MODE;
  }
  if (known === undefined) state.assume(`there is no file ${path}`);
  return null;
}

function runProgram(template: Template, state: EventState): boolean | undefined {
  state.result = undefined;
  const command = expand(template, state, commandSize(state.dialect));
  if (command === undefined) return undefined;
  const { exit, stdout } = askProgram(command, state);
  if (exit !== 0) return false;
  state.result = replaceInputChars(trimNewlines(stdout));
  return true;
}

function askProgram(command: string, state: EventState): ProgramResult {
  const known = state.world.program(command);
  // Nothing cannot be run.
  const succeeds = state.unknown === "succeeds" && trimBlanks(command) !== "";
  const result = known ?? { exit: succeeds ? 0 : 1, stdout: "" };
  if (!known) state.assume(`${command} ${succeeds ? "succeeds and prints nothing" : "fails"}`);
  state.actions.push({ kind: "program", command, result, assumed: !known, ...state.place });
  return result;
}

function importProgram(template: Template, state: EventState): boolean | undefined {
  const command = expand(template, state, commandSize(state.dialect));
  if (command === undefined) return undefined;
  const { exit, stdout } = askProgram(command, state);
  if (exit === 0) importLines(stdout, state);
  return exit === 0;
}

/** Builtins whose result is kept for the rest of the event (`run_once`). */
const ONCE = new Set(["blkid", "path_id", "usb_id"]);

function importBuiltin(value: string, template: Template, state: EventState): boolean | undefined {
  const [name = ""] = value.split(/[ \t]/, 1);
  const earlier = state.builtins.get(name);
  if (earlier) return earlier.exit === 0;
  const command = expand(template, state, commandSize(state.dialect));
  if (command === undefined) return undefined;
  const known = state.world.builtin(command);
  // Memory blocks and CPUs have no disks, inputs or names: a builtin finds nothing there.
  const result = known ?? { exit: 1, stdout: "" };
  if (!known) state.assume(`the builtin ${command} finds nothing`);
  if (ONCE.has(name)) state.builtins.set(name, result);
  state.actions.push({
    kind: "import",
    source: "builtin",
    what: command,
    done: result.exit === 0,
    ...state.place,
  });
  if (result.exit === 0) importLines(result.stdout, state);
  return result.exit === 0;
}

function importFile(path: string | undefined, state: EventState): boolean | undefined {
  if (path === undefined) return undefined;
  const text = state.world.readFile(path);
  if (text === undefined) state.assume(`there is no file ${path}`);
  const done = typeof text === "string";
  state.actions.push({ kind: "import", source: "file", what: path, done, ...state.place });
  if (done) importLines(text, state);
  return done;
}

function importLines(text: string, state: EventState): void {
  for (const line of text.split(/[\r\n]+/)) {
    const property = parseProperty(line);
    if (property) state.setProperty(...property);
  }
}

function importParent(filter: string | undefined, state: EventState): boolean | undefined {
  if (filter === undefined) return undefined;
  const { parent } = state.device;
  if (!parent) return false;
  const wanted = compileGlob(filter);
  for (const [name, value] of parent.properties) if (wanted(name)) state.setProperty(name, value);
  state.actions.push({ kind: "import", source: "parent", what: filter, done: true, ...state.place });
  return true;
}

function importKnown(
  source: string,
  name: string,
  value: string | null | undefined,
  state: EventState,
): boolean {
  if (value === undefined) state.assume(`the ${source} has no ${name}`);
  const done = typeof value === "string";
  if (done) state.setProperty(name, value);
  state.actions.push({ kind: "import", source, what: name, done, ...state.place });
  return done;
}
