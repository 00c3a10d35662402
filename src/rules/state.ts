/** What changes while an event's rules are evaluated. */
import { trimNewlines } from "./clean.ts";
import type { UdevDevice } from "./device.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { Dialect } from "./dialect.ts";
import type { UdevEvent } from "./event.ts";
import type { Format } from "./format.ts";
import type { Place, RuleAction } from "./outcome.ts";
import type { RuleLine } from "./parse.ts";
import type { Assumption, ProgramResult, UnknownProgram, World } from "./world.ts";

/** An entry of the RUN list, which is substituted at its time. */
export interface PendingRun extends Place {
  readonly kind: "program" | "builtin";
  readonly command: string | Format;
}

/** Keys that `:=` closes. */
export type FinalKey = "run" | "owner" | "group" | "mode" | "name" | "symlink";

/** A device, or the knowledge that there is none. */
export type FoundDevice = UdevDevice | "absent";

/** The state of one event; made for it and thrown away. */
export class EventState {
  readonly event: UdevEvent;
  readonly device: UdevDevice;
  readonly world: World;
  readonly dialect: Dialect;
  readonly unknown: UnknownProgram;

  /** The line that is evaluated, or whose RUN command gets its substitutions. */
  line!: Pick<RuleLine, "path" | "number">;
  /** The device that the last parent group matched (`dev_parent`). */
  parent: UdevDevice | undefined = undefined;
  /** PROGRAM's output; undefined before the first one, and after one that failed. */
  result: string | undefined = undefined;
  /** OPTIONS string_escape of the current line. */
  escape: "unset" | "none" | "replace" = "unset";

  run: PendingRun[] = [];
  links: Set<string>;
  owner: string | undefined = undefined;
  group: string | undefined = undefined;
  mode: number | undefined = undefined;
  name: string | undefined = undefined;
  readonly final: Set<FinalKey> = new Set<FinalKey>();
  readonly actions: RuleAction[] = [];
  readonly assumptions: Assumption[] = [];
  readonly problems: Diagnostic[] = [];
  /** Results of builtins that run once per event. */
  readonly builtins: Map<string, ProgramResult> = new Map<string, ProgramResult>();
  #changed: Map<string, string | undefined> | undefined;
  #attributes: Map<string, string | undefined> | undefined;
  #written: Map<string, string> | undefined;
  #tags: Set<string> | undefined;
  #everTags: Set<string> | undefined;
  #said: Set<string> | undefined;

  constructor(event: UdevEvent, world: World, dialect: Dialect, unknown: UnknownProgram) {
    this.event = event;
    this.device = event.device;
    this.world = world;
    this.dialect = dialect;
    this.unknown = unknown;
    this.links = new Set(event.device.links);
  }

  get changed(): ReadonlyMap<string, string | undefined> {
    return this.#changed ?? new Map<string, string | undefined>();
  }

  get tags(): ReadonlySet<string> {
    return this.#tags ?? this.device.tags;
  }

  /** Tags that TAG matches find: with what `-=` took away, where the dialect keeps that. */
  get matchedTags(): ReadonlySet<string> {
    return this.#everTags ?? this.tags;
  }

  addTag(tag: string): void {
    this.#everTags?.add(tag);
    this.#tags = new Set(this.tags).add(tag);
  }

  /** TAG="...": nothing is left of what was there. */
  clearTags(): void {
    this.#everTags = undefined;
    this.#tags = new Set();
  }

  removeTag(tag: string): void {
    const { tags } = this;
    if (this.dialect.removedTagsMatch) this.#everTags ??= new Set(tags);
    this.#tags = new Set([...tags].filter((one) => one !== tag));
  }

  /** A property of the event's device: undefined where it is unset. */
  property(name: string): string | undefined {
    if (this.#changed?.has(name)) return this.#changed.get(name);
    const { device } = this;
    switch (name) {
      case "ACTION":
        return this.event.action;
      case "DEVPATH":
        return device.devpath;
      case "SUBSYSTEM":
        return device.subsystem;
      case "SEQNUM":
        return String(this.event.seqnum);
      case "DEVNAME":
        return device.node ? `/dev/${device.node.name}` : device.properties.get(name);
      case "MAJOR":
        return device.node ? String(device.node.major) : device.properties.get(name);
      case "MINOR":
        return device.node ? String(device.node.minor) : device.properties.get(name);
      case "IFINDEX":
        return device.ifindex === undefined ? device.properties.get(name) : String(device.ifindex);
      default:
        return device.properties.get(name);
    }
  }

  setProperty(name: string, value: string | undefined): void {
    this.#changed ??= new Map();
    this.#changed.set(name, value === "" && this.dialect.emptyUnsets ? undefined : value);
  }

  /**
   * An attribute of `device`. Those of the event's device are read once and remembered, so that a write that comes
   * after the first read is not seen (`device_get_cached_sysattr_value`).
   */
  attribute(device: UdevDevice, name: string): string | undefined {
    if (device !== this.device) return readAttribute(device, name);
    this.#attributes ??= new Map();
    if (this.#attributes.has(name)) return this.#attributes.get(name);
    const value = this.#written?.get(name) ?? readAttribute(device, name);
    this.#attributes.set(name, value);
    return value;
  }

  /** Remembers that the rules wrote an attribute of the event's device; it is taken to read back as written. */
  wrote(name: string, value: string): void {
    this.#written ??= new Map();
    this.#written.set(name, value);
  }

  /** The device of `[subsystem/sysname]`; a device that nobody knows is taken for absent, and that is said. */
  findDevice(subsystem: string, sysname: string): FoundDevice {
    for (let device: UdevDevice | undefined = this.device; device; device = device.parent) {
      if (device.subsystem === subsystem && device.sysname === sysname) return device;
    }
    const found = this.world.device(subsystem, sysname);
    if (found === undefined) this.assume(`there is no device [${subsystem}/${sysname}]`);
    return found ?? "absent";
  }

  /** Says that `text` was taken for true; each once for a line. */
  assume(text: string): void {
    if (this.#isNew(text)) this.assumptions.push({ ...this.place, text });
  }

  /** What udev would log; each once for a line. */
  warn(message: string): void {
    if (this.#isNew(message)) this.problems.push({ severity: "warning", ...this.place, message });
  }

  #isNew(text: string): boolean {
    this.#said ??= new Set();
    const key = `${this.line.path}\0${this.line.number}\0${text}`;
    const before = this.#said.size;
    return this.#said.add(key).size > before;
  }

  get place(): Place {
    return { path: this.line.path, line: this.line.number };
  }
}

function readAttribute(device: UdevDevice, name: string): string | undefined {
  const value = device.attribute(name);
  return value === undefined ? undefined : trimNewlines(value);
}
