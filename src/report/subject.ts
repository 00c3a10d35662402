/** What a report is about, with the one thing that must never be overlooked: that it is a simulation. */
import { isSimulated } from "../targets/target.ts";
import { printable } from "./text.ts";

/** A target for people: `qmp:/run/guest.sock`, `sim:6.1 (simulated)`. */
export function subjectText(target: string): string {
  return isSimulated(target) ? `${printable(target)} (simulated)` : printable(target);
}

/** The fields that name a target in JSON; `simulated` is there only where it is true. */
export function subjectJson(target: string): { readonly target: string; readonly simulated?: true } {
  return isSimulated(target) ? { target, simulated: true } : { target };
}
