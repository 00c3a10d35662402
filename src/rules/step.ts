/** A token made ready to run: rules are compiled once and applied to many events. */
import type { UdevDevice } from "./device.ts";
import type { Found } from "./outcome.ts";
import type { EventState } from "./state.ts";
import type { Token } from "./token.ts";

/** One token, or a group of parent tokens, at its place in the line. */
export interface Step {
  /** The token as it is written; the first of a group. */
  readonly token: Token;
  /** Does what the token says. @returns whether the line goes on. */
  readonly apply: (state: EventState) => boolean;
  /** What a token that did not match was compared with; asked right after {@link apply} returned false. */
  readonly found: (state: EventState) => { readonly token: Token; readonly found: Found };
}

/** A value that a match token looks at: undefined where there is none, and then neither `==` nor `!=` holds. */
export type Read = (state: EventState, device: UdevDevice) => string | undefined;

/** For what there is one value of. */
export function foundValue(value: string | undefined, missing: string): Found {
  return { value, text: value === undefined ? missing : JSON.stringify(value) };
}
