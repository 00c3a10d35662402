/** The entries about a header: a verdict, and an install with what it leaves undone. */
import { cpuNotes } from "../../elfcore/kinds.ts";
import type { Sha256 } from "../../image/hash.ts";
import type { CaptureImage } from "../../image/locate.ts";
import { hex } from "../../elfcore/hex.ts";
import { describedMemory } from "../../layout/described.ts";
import type { InsideInstall } from "../inside.ts";
import { headerAfter, headerOf, type InstallCause, type PlacedHeader } from "../install-log.ts";
import type { InstallReport } from "../install.ts";
import type { TargetEvent } from "../service-event.ts";
import type { EntryBody, EntryRef } from "./entry.ts";
import { rounded } from "./time.ts";
import { causeText, headerText, rangeTexts } from "./write.ts";

/** `verdict`. */
export function verdictBody(
  target: string,
  { audit, sinceLookMs }: Extract<TargetEvent, { readonly kind: "verdict" }>,
  sha256: Sha256,
): Extract<EntryBody, { readonly entry: "verdict" }> {
  const { verdict, reason, missing, stale, cpus, image } = audit;
  return {
    entry: "verdict",
    target,
    verdict,
    reason,
    missing: rangeTexts(missing),
    stale: rangeTexts(stale),
    cpusMissing: cpus.missing,
    header: image ? headerText(headerOf(image), sha256) : null,
    ...(sinceLookMs !== undefined && { sinceLookMs: rounded(sinceLookMs) }),
  };
}

/** An install that has been read back. */
export interface Installed {
  readonly target: string;
  readonly image: CaptureImage;
  readonly cause: InstallCause;
  readonly after: PlacedHeader | undefined;
  readonly installed: InstallReport | InsideInstall;
}

/** `installed`. */
export function installedBody(
  { target, image, cause, after, installed }: Installed,
  sha256: Sha256,
  facts: {
    readonly intent: EntryRef | null;
    readonly reactionMs: number | null;
    readonly sinceLookMs?: number | undefined;
    readonly durationMs: number | null;
  },
): Extract<EntryBody, { readonly entry: "installed" }> {
  const header = after?.header ?? image.header;
  const described = describedMemory(header);
  const lacking = (cause.presentCpus ?? 0) - cpuNotes(header).length;
  const isInside = "way" in installed;
  const writes = isInside ? [] : installed.writes;
  return {
    entry: "installed",
    target,
    ...facts,
    cause: causeText(cause),
    before: headerText(headerOf(image), sha256),
    after: after ? headerText(after, sha256) : null,
    ...(isInside && { way: installed.way, callMs: rounded(installed.callMs) }),
    writes: writes.map(({ what, address, after: bytes }) => ({
      what,
      address: hex(address),
      bytes: bytes.length,
    })),
    pauseMicroseconds: isInside ? null : (installed.pauseMicroseconds ?? null),
    left: {
      missing: rangeTexts(cause.missing.subtract(described)),
      stale: rangeTexts(cause.stale.intersect(described)),
      cpus: Math.max(0, lacking),
    },
  };
}

/** `installed`, of a keeper that tells no log; undefined where there was no image, or it is not known what there is. */
export function installedEventBody(
  target: string,
  { before, installed, reactionMs, sinceLookMs }: Extract<TargetEvent, { readonly kind: "installed" }>,
  sha256: Sha256,
): Extract<EntryBody, { readonly entry: "installed" }> | undefined {
  const { image, missing, stale, cpus } = before;
  if (!image) return undefined;
  const cause = { why: "reconcile", missing, stale, presentCpus: cpus.present } as const;
  const after = "way" in installed ? installed.after : headerAfter(image, installed);
  if (!after && "way" in installed) return undefined;
  const facts = { intent: null, reactionMs: reactionMs ?? null, sinceLookMs, durationMs: null };
  return installedBody({ target, image, cause, after, installed }, sha256, facts);
}
