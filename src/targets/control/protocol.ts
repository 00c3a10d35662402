/** What a command and a keeper say to each other over the control socket: one JSON document a line. */
import * as v from "valibot";

/** Changes when one side could misunderstand the other. */
export const CONTROL_PROTOCOL = 1;

/** A request is a command line: longer ones are none. */
export const REQUEST_LIMIT: number = 64 * 1024;

const protocol = v.literal(CONTROL_PROTOCOL);

/** What a client may ask. */
export const requestSchema: v.GenericSchema<unknown, ControlRequest> = v.variant("request", [
  v.strictObject({
    protocol,
    request: v.literal("run"),
    target: v.string(),
    args: v.array(v.string()),
  }),
  v.strictObject({ protocol, request: v.literal("list") }),
  v.strictObject({ protocol, request: v.literal("interrupt") }),
]);

export type ControlRequest =
  /** Runs the command line `args` on the open machine of `target`. */
  | {
      readonly protocol: number;
      readonly request: "run";
      readonly target: string;
      readonly args: readonly string[];
    }
  /** Which targets are kept. */
  | { readonly protocol: number; readonly request: "list" }
  /** Ctrl-C on the other side. */
  | { readonly protocol: number; readonly request: "interrupt" };

/** One target of a keeper, as it tells others. */
export interface ListedTarget {
  readonly target: string;
  readonly state: "watched" | "waiting";
  readonly reason?: string | undefined;
}

/** What a keeper answers. */
export type ControlReply =
  /** Whether it has the target open; where not, nothing follows. */
  | { readonly kept: boolean }
  | { readonly print: string }
  | { readonly say: string }
  | { readonly exit: number }
  | { readonly targets: readonly ListedTarget[] }
  | { readonly error: string };

const listed = v.object({
  target: v.string(),
  state: v.picklist(["watched", "waiting"]),
  reason: v.optional(v.string()),
});

export const replySchema: v.GenericSchema<unknown, ControlReply> = v.union([
  v.strictObject({ kept: v.boolean() }),
  v.strictObject({ print: v.string() }),
  v.strictObject({ say: v.string() }),
  v.strictObject({ exit: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255)) }),
  v.strictObject({ targets: v.array(listed) }),
  v.strictObject({ error: v.string() }),
]);
