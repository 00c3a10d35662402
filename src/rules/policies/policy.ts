/** A way of keeping kdump accurate, as udev rules. */

/** One policy's rules, written by us to the effect that a distribution's file has. */
export interface RulePolicy {
  readonly name: string;
  /** For people. */
  readonly title: string;
  /** Base name that the distribution gives the file: it decides what comes before and after it. */
  readonly fileName: string;
  readonly text: string;
  /** The command in `text` that is called on each event; replace it to call something else in its place. */
  readonly command: string | undefined;
}
