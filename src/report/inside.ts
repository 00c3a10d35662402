/** What a keeper from inside did, or would do, for people and for programs. */
import type { InsideInstall, InsideLoaded, InsideReconciled, InsideStep } from "../keeper/inside.ts";
import type { Audit } from "../keeper/audit.ts";
import { formatBytes } from "../layout/range.ts";
import { auditJson, auditText } from "./audit.ts";
import { subjectText } from "./subject.ts";
import { printable } from "./text.ts";

/** One install, in words without a full stop. */
export function insideInstallText(installed: InsideInstall): string {
  const blind = blindText(installed.callMs);
  switch (installed.way) {
    case "re-arm": {
      const { segments, bytes, leftByKernel } = installed;
      const whose = leftByKernel ? "; the kernel keeps the header true itself, and had not" : "";
      return `re-armed: ${segments} segments of ${formatBytes(BigInt(bytes))} loaded over the rest, which stayed; ${blind}${whose}`;
    }
    case "full-load":
      return `loaded in full (${printable(installed.source)}), because ${printable(installed.reason)}; ${blind}`;
  }
}

function blindText(callMs: number): string {
  return `the system call took ${callMs.toFixed(1)} ms, in which a panic would have found nothing loaded`;
}

/** One install, for programs. The header that it left is in the audit of the state afterwards. */
export function insideInstallJson(installed: InsideInstall): Readonly<Record<string, unknown>> {
  const { way, callMs } = installed;
  if (way === "full-load") return { way, callMs, source: installed.source, reason: installed.reason };
  const { segments, bytes, leftByKernel } = installed;
  return { way, callMs, segments, bytes, leftByKernel };
}

/** `keep local --once`, for people. */
export function insideReconciledText(target: string, { before, after, installed }: InsideReconciled): string {
  if (!installed) return auditText(target, after);
  return `${subjectText(target)}: was ${before.verdict} (${printable(before.reason)})\n  ${insideInstallText(installed)}\n${auditText(target, after)}`;
}

/** `keep local --once --json`. */
export function insideReconciledJson(
  target: string,
  { before, after, installed }: InsideReconciled,
): Readonly<Record<string, unknown>> {
  return {
    ...auditJson(target, after),
    before: auditJson(target, before),
    installed: installed ? insideInstallJson(installed) : null,
  };
}

/** `load`, for people. */
export function insideLoadedText(target: string, { loaded, widened, drawback, after }: InsideLoaded): string {
  const room = widened ? `  ${insideInstallText(widened)}: the header has room to grow\n` : "";
  const but = drawback === undefined ? "" : `  but ${printable(drawback)}\n`;
  return `${subjectText(target)}: loaded (${printable(loaded.source)}); ${blindText(loaded.callMs)}\n${room}${but}${auditText(target, after)}`;
}

/** `load --json`. */
export function insideLoadedJson(
  target: string,
  { loaded, widened, drawback, after }: InsideLoaded,
): Readonly<Record<string, unknown>> {
  return {
    ...auditJson(target, after),
    loaded: { ...loaded },
    widened: widened ? insideInstallJson(widened) : null,
    drawback: drawback ?? null,
  };
}

/** `keep local --dry-run`, for people. */
export function insideStepText(target: string, before: Audit, step: InsideStep): string {
  return `${auditText(target, before)}  would ${stepText(step)}\n`;
}

function stepText(step: InsideStep): string {
  switch (step.step) {
    case "nothing":
      return "do nothing";
    case "leave-to-kernel":
      return "give the kernel half a second to correct that itself, and re-arm where it does not";
    case "re-arm": {
      const { segments, residual } = step.plan;
      return `re-arm: load ${segments.length} segments of ${formatBytes(bytesOf(segments))} by one kexec_load, and leave ${residual.length} of ${formatBytes(bytesOf(residual))} where they are`;
    }
    case "full-load":
      return `load in full, over the old image, because ${printable(step.reason)}`;
  }
}

/** `keep local --dry-run --json`. */
export function insideStepJson(
  target: string,
  before: Audit,
  step: InsideStep,
): Readonly<Record<string, unknown>> {
  const would =
    step.step === "re-arm"
      ? {
          step: step.step,
          segments: step.plan.segments.length,
          bytes: Number(bytesOf(step.plan.segments)),
          leftBytes: Number(bytesOf(step.plan.residual)),
        }
      : { ...step };
  return { ...auditJson(target, before), would };
}

function bytesOf(parts: readonly { readonly size: number }[]): bigint {
  return BigInt(parts.reduce((sum, { size }) => sum + size, 0));
}
