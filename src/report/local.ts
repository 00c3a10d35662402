/** An audit from inside: the verdict, and what the kernel says of kdump beside it. */
import { formatBytes } from "../layout/range.ts";
import type { LocalAudit } from "../targets/local/audit.ts";
import { type KdumpFacts, repairFromInside } from "../targets/local/facts.ts";
import type { LocalPolicy } from "../targets/local/policy.ts";
import { auditJson, auditText } from "./audit.ts";
import { jsonBytes } from "./json.ts";
import { policyJson, policyText } from "./local-policy.ts";
import { columns, printable } from "./text.ts";

/** The policy of the machine, or in a sentence why it cannot be told; undefined where it was not asked for. */
type Policy = LocalPolicy | { readonly unknown: string } | undefined;

/** `audit local`, for people. */
export function localAuditText(target: string, audit: LocalAudit, policy?: Policy): string {
  const { facts } = audit;
  // Of a kernel without kexec nothing of this means anything.
  const rows = facts?.crashLoaded !== undefined ? columns(factRows(facts), "  ") : "";
  return `${auditText(target, audit)}${rows}${policyPart(policy)}`;
}

function policyPart(policy: Policy): string {
  if (policy === undefined) return "";
  if ("unknown" in policy)
    return `\nWhat would be done on the next event cannot be told: ${printable(policy.unknown)}\n`;
  return policyText(policy);
}

/** `audit local --json`. */
export function localAuditJson(
  target: string,
  audit: LocalAudit,
  policy?: Policy,
): Readonly<Record<string, unknown>> {
  return {
    ...auditJson(target, audit),
    kdump: audit.facts ? factsJson(audit.facts) : null,
    ...(policy === undefined ? {} : { policy: "unknown" in policy ? policy : policyJson(policy) }),
  };
}

function factRows(facts: KdumpFacts): readonly (readonly [string, string])[] {
  const repair = repairFromInside(facts);
  const permitted = { true: "permitted", false: "not permitted", undefined: "not known" };
  const rows: (readonly [string, string])[] = [
    ["kept true by the kernel", updateText(facts)],
    [
      "repair from inside",
      `${permitted[`${repair.permitted}`]}${repair.reason === "" ? "" : `: ${repair.reason}`}`,
    ],
    ["lockdown", facts.lockdown ?? "not known"],
  ];
  if (facts.elfcorehdrSize !== undefined)
    rows.push(["header's segment should have", formatBytes(facts.elfcorehdrSize)]);
  return rows;
}

function updateText({ crashLoaded, memoryHotplug, cpuHotplug }: KdumpFacts): string {
  if (memoryHotplug === undefined && cpuHotplug === undefined)
    return "no, this kernel has no crash_hotplug (Linux 6.6 has, where it is configured)";
  const kept = [memoryHotplug === true ? "memory" : "", cpuHotplug === true ? "CPUs" : ""].filter(
    (what) => what !== "",
  );
  if (kept.length > 0) return `yes, for ${kept.join(" and ")} (crash_hotplug is 1)`;
  return crashLoaded === true
    ? "no, crash_hotplug is 0"
    : "not known: crash_hotplug is 0 as long as nothing is loaded";
}

function factsJson(facts: KdumpFacts): Readonly<Record<string, unknown>> {
  const { permitted, reason } = repairFromInside(facts);
  return {
    release: facts.release ?? null,
    crashLoaded: facts.crashLoaded ?? null,
    crashBytes: bytesJson(facts.crashSize),
    crashHotplug: { memory: facts.memoryHotplug ?? null, cpu: facts.cpuHotplug ?? null },
    elfcorehdrBytes: bytesJson(facts.elfcorehdrSize),
    kexecLoadDisabled: facts.kexecLoadDisabled ?? null,
    kexecLoadsLeft: facts.kexecLoadsLeft === undefined ? null : Number(facts.kexecLoadsLeft),
    lockdown: facts.lockdown ?? null,
    captureKernel: facts.isCaptureKernel,
    repair: { permitted: permitted ?? null, reason: reason === "" ? null : reason },
  };
}

function bytesJson(bytes: bigint | undefined): number | string | null {
  return bytes === undefined ? null : jsonBytes(bytes);
}
