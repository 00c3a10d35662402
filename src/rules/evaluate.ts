/** Rules and an event in, its outcome out. Each line is looked at once at most: GOTO leads forward only. */
import { appliesTo, type CompiledLine, compileLines, planFor, type PlannedLine } from "./compile.ts";
import { type Dialect, NEWEST } from "./dialect.ts";
import type { UdevEvent } from "./event.ts";
import type { LineOutcome, Outcome, RunCommand } from "./outcome.ts";
import { parseRules, type RuleFile } from "./parse.ts";
import type { RuleSource } from "./source.ts";
import { commandSize, expand } from "./substitute.ts";
import { EventState } from "./state.ts";
import { NOTHING_KNOWN, type UnknownProgram, type World } from "./world.ts";

/** What an evaluation may be told. */
export interface EvaluateOptions {
  readonly world?: World | undefined;
  /** What PROGRAM and IMPORT{program} are taken to do where `world` does not know; they succeed if it is left out. */
  readonly unknownPrograms?: UnknownProgram | undefined;
}

/** Plans kept for pairs of action and subsystem; a stream of forged subsystems must not fill memory. */
const MOST_PLANS = 256;

/**
 * Rules, ready for events.
 *
 * @example
 * ```ts
 * import { effectOf, parseEventSpec, RuleSet } from "kdump-hotplug";
 *
 * const text = 'SUBSYSTEM=="memory", ACTION=="online", RUN+="/bin/systemctl restart kdump.service"';
 * const rules = RuleSet.parse([{ path: "/etc/udev/rules.d/98-kexec.rules", text }]);
 * const effect = effectOf(rules, parseEventSpec("online:memory40"), { crashHotplug: "absent" });
 * console.log(effect.kind); // reload
 * ```
 */
export class RuleSet {
  readonly files: readonly RuleFile[];
  readonly dialect: Dialect;
  readonly #lines: readonly CompiledLine[];
  readonly #plans = new Map<string, readonly PlannedLine[]>();

  /** @param files - in udev's order, all of one dialect. */
  constructor(files: readonly RuleFile[], dialect: Dialect) {
    this.files = files;
    this.dialect = dialect;
    this.#lines = compileLines(files);
  }

  /** Parses `sources`, which are in udev's order ({@link selectRuleFiles}). Never throws. */
  static parse(sources: readonly RuleSource[], dialect: Dialect = NEWEST): RuleSet {
    return new RuleSet(
      sources.map((source) => parseRules(source, dialect)),
      dialect,
    );
  }

  /** Evaluates the rules: what is done, without the reasons. */
  evaluate(event: UdevEvent, options: EvaluateOptions = {}): Outcome {
    const state = newState(event, this.dialect, options);
    const plan = this.#plan(event);
    for (let i = 0; i < plan.length;) {
      const { compiled, steps, next } = plan[i]!;
      if (!appliesTo(compiled.applies, event)) {
        i++;
        continue;
      }
      state.line = compiled.line;
      state.escape = "unset";
      i = applySteps(steps, state) === undefined ? next : i + 1;
    }
    return outcomeOf(state, []);
  }

  /** Evaluates the rules, and says of every line what became of it. */
  explain(event: UdevEvent, options: EvaluateOptions = {}): Outcome {
    const state = newState(event, this.dialect, options);
    const outcomes: LineOutcome[] = [];
    for (let i = 0; i < this.#lines.length;) {
      const compiled = this.#lines[i]!;
      const { line } = compiled;
      const outcome = explainLine(compiled, state);
      outcomes.push(outcome);
      const next = outcome.result === "matched" ? (compiled.target ?? i + 1) : i + 1;
      for (i++; i < next; i++) outcomes.push({ result: "jumped-over", line: this.#lines[i]!.line, by: line });
    }
    return outcomeOf(state, outcomes);
  }

  #plan(event: UdevEvent): readonly PlannedLine[] {
    const key = `${event.action}\0${event.device.subsystem ?? ""}`;
    const known = this.#plans.get(key);
    if (known) return known;
    const plan = planFor(this.#lines, event);
    if (this.#plans.size < MOST_PLANS) this.#plans.set(key, plan);
    return plan;
  }
}

function newState(event: UdevEvent, dialect: Dialect, options: EvaluateOptions): EventState {
  return new EventState(
    event,
    options.world ?? NOTHING_KNOWN,
    dialect,
    options.unknownPrograms ?? "succeeds",
  );
}

function explainLine({ line, steps, applies }: CompiledLine, state: EventState): LineOutcome {
  if (steps.length === 0 && !line.jump) return { result: "label", line };
  if (!appliesTo(applies, state.event)) return { result: "not-applicable", line };
  state.line = line;
  state.escape = "unset";
  const failed = applySteps(steps, state);
  if (!failed) return { result: "matched", line };
  const { token, found } = failed.found(state);
  return { result: "not-matched", line, token: token.text, found };
}

/** @returns the step that ended the line; undefined where all of it matched. */
function applySteps(
  steps: CompiledLine["steps"],
  state: EventState,
): CompiledLine["steps"][number] | undefined {
  for (const step of steps) if (!step.apply(state)) return step;
  return undefined;
}

function outcomeOf(state: EventState, lines: readonly LineOutcome[]): Outcome {
  const run = runList(state);
  const { event, actions, changed, tags, owner, group, mode, name, assumptions, problems } = state;
  const links = [...state.links];
  return {
    event,
    lines,
    actions,
    run,
    changed,
    tags,
    links,
    owner,
    group,
    mode,
    name,
    assumptions,
    problems,
  };
}

/** Up to v239 the commands get their substitutions now, with what all rules left behind. */
function runList(state: EventState): readonly RunCommand[] {
  return state.run.flatMap(({ kind, command, path, line }) => {
    // What goes wrong now is told of the line that the command is of, not of the last one that was looked at.
    state.line = { path, number: line };
    const text = expand(command, state, commandSize(state.dialect));
    return text === undefined ? [] : [{ kind, command: text, path, line }];
  });
}
