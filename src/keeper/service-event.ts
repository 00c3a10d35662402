/** What a service tells of its targets: journal, metrics and people read the same. */
import type { InsideInstall } from "./inside.ts";
import type { InstallReport } from "./install.ts";
import type { WatchEvent } from "./watch.ts";

/** What happened to one target. */
export type TargetEvent =
  | WatchEvent<InstallReport | InsideInstall>
  /** It is there, and is watched from now on. */
  | { readonly kind: "found" }
  /** It cannot be watched, in words without a full stop; it is tried again. */
  | { readonly kind: "unreachable"; readonly reason: string }
  /** It has ended, or is not wanted any more. */
  | { readonly kind: "gone"; readonly reason: string }
  /** It stood still by a pause of ours that a keeper before us did not end; now it runs again. */
  | { readonly kind: "resumed"; readonly reason: string };

/** One entry of the stream. */
export interface ServiceEvent {
  /** As users write it, `qmp:/run/guests/a.sock`. */
  readonly target: string;
  /** Wall clock, ms since 1970. */
  readonly at: number;
  readonly event: TargetEvent;
}

/** Who listens. It must not throw: what goes wrong in it is its own affair. */
export interface ServiceListener {
  onEvent(event: ServiceEvent): void;
}
