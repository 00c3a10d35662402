/** Lines of a campaign, for tests. */
import type { CampaignHead, TrialRecord } from "../../../src/lab/campaign/results.ts";

export const HEAD: CampaignHead = {
  kind: "campaign",
  version: 1,
  seed: 1,
  freshEvery: 20,
  pagesEvery: 4,
  qemu: "10.0.2",
  kexecTools: "2.0.29",
  accelerator: "tcg",
};

/** A trial that gave a complete dump, unless told. */
export function trial(index: number, changes: Partial<TrialRecord> = {}): TrialRecord {
  const { kernel = "6.1", load = "kexec_file_load", way = "in-place" } = changes;
  return {
    kind: "trial",
    id: `${kernel}/${load}/${way}/${index}`,
    kernel,
    release: "6.1.0-56-cloud-amd64",
    load,
    way,
    index,
    seed: 7,
    moment: "during",
    kernelCode: "0x7c00000",
    fresh: false,
    zone: "online",
    plannedPanicMs: 161,
    panickedMs: 160.844,
    steps: [{ what: "plug kdh-mem0", at: 154, done: 160 }],
    removals: { asked: 0, gone: 0 },
    outcome: "complete",
    reasons: [],
    cause: null,
    onlineBytes: 804122624,
    missing: [],
    claimed: [],
    pages: null,
    installs: [],
    errors: [],
    state: { image: true, locked: true, saved: true },
    ms: 5000,
    lost: 0,
    repeat: `kdump-hotplug lab campaign --trial ${index}`,
    ...changes,
  };
}
