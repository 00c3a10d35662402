/** The page of `lab run --policy`: policies in real guests, watched from outside all the time. */
import type { LabRunSetting } from "../lab-run.ts";
import { type PolicyRunReport, policyRunRows, policyRunsText } from "../policy-run.ts";
import { labPolicy } from "../../lab/policies/policy.ts";
import { MAX_STEPS } from "./map-steps.ts";
import type { DistributionSection, PageModel, Section } from "./model.ts";
import { policyRunsMap } from "./policy-run-map.ts";
import type { PageSetting } from "./setting.ts";

export function policyRunsPage(
  setting: PageSetting,
  ran: LabRunSetting,
  runs: readonly PolicyRunReport[],
): PageModel {
  const { result: first } = runs[0]!;
  const window = Math.max(...runs.flatMap(({ result }) => result.spans.map(({ end }) => end)));
  const [head = [], ...rows] = policyRunRows(runs);
  const reactions = distribution("Reactions", "reaction", runs, ({ reactionMs }) => reactionMs);
  const pauses = distribution("Pauses", "pause", runs, ({ pauseMicroseconds }) =>
    pauseMicroseconds === undefined ? undefined : pauseMicroseconds / 1000,
  );
  const { section: map, leftOut } = policyRunsMap(
    runs.map(({ result }) => result),
    (spans) => bandOf(spans, window),
    window,
  );
  const failures = runs.flatMap(({ result }) =>
    result.failures.map((failure) => `${result.case.policy}: ${failure}`),
  );
  const sections: (Section | undefined)[] = [
    {
      kind: "timeline",
      title: "Blind, stale and accurate over time",
      text: `Seen from outside in the guest's RAM, every ${first.resolution.medianGapMs.toFixed(1)} ms, at worst after ${Math.max(...runs.map(({ result }) => result.resolution.worstGapMs)).toFixed(1)} ms. From the first device_add on; where a run was at rest earlier, it is as it was then.`,
      window,
      bands: runs.map(({ result }) => ({
        name: result.case.policy,
        title: labPolicy(result.case.policy).title,
        intervals: bandOf(result.spans, window),
      })),
    },
    map,
    reactions,
    pauses,
    {
      kind: "table",
      title: "Measured, and in brackets what the simulation says with that run's costs",
      head,
      rows,
    },
    failures.length === 0
      ? undefined
      : { kind: "notes", title: "What was not as the policy promises", notes: failures },
    { kind: "text", title: "As the terminal shows it", body: policyRunsText(ran, runs) },
  ];
  return {
    title: `What policies cost on Linux ${first.release}`,
    lead:
      failures.length === 0
        ? { tone: "good", text: `All ${runs.length} policies did what they promise.` }
        : {
            tone: "bad",
            text: `${failures.length} things were not as promised: ${failures.join("; ")}.`,
          },
    facts: [
      ["kernel", first.release],
      ["QEMU", `${ran.qemu} (${ran.accelerator})`],
      ["udev", `systemd-udevd ${first.udev.version} of ${first.udev.suite}`],
      ["capture kernel", `loaded by ${first.case.load} (kexec-tools ${ran.kexecTools})`],
      [
        "guest",
        `${first.case.ramMiB} MiB; ${first.case.dimmsMiB.length} DIMMs of ${[...new Set(first.case.dimmsMiB)].join(" and ")} MiB: ${first.blocks} blocks of ${first.blockBytes / 2 ** 20} MiB`,
      ],
      ...setting.host,
    ],
    command: setting.command,
    sections: sections.filter((section) => section !== undefined),
    lacking: [
      ...(leftOut.length === 0
        ? []
        : [
            [
              `Memory map of ${leftOut.join(", ")}`,
              `together they have more than ${MAX_STEPS.toLocaleString("en")} steps; lab run --policy NAME gives a page of one of them`,
            ] as const,
          ]),
      [
        "Header before and after",
        "a run keeps what the header described, not its bytes; lab run without --policy keeps both",
      ],
      ["Outcomes with intervals", "no guest panics here; lab campaign panics many"],
      ...(reactions ? [] : [["Reactions", "no policy that was run installs a header from outside"] as const]),
      ...(pauses ? [] : [["Pauses", "nothing was installed from outside"] as const]),
    ],
  };
}

/** From the first plug on, until `window`. */
function bandOf(
  spans: PolicyRunReport["result"]["spans"],
  window: number,
): readonly {
  readonly start: number;
  readonly end: number;
  readonly condition: "blind" | "stale" | "accurate";
}[] {
  const band = spans
    .filter(({ end }) => end > 0)
    .map(({ start, end, state }) => ({ start: Math.max(0, start), end, condition: state }));
  const last = band.at(-1);
  return last && last.end < window ? [...band, { ...last, start: last.end, end: window }] : band;
}

function distribution(
  title: string,
  what: string,
  runs: readonly PolicyRunReport[],
  valueOf: (install: PolicyRunReport["result"]["installs"][number]) => number | undefined,
): DistributionSection | undefined {
  const series = runs
    .map(({ result }) => ({
      name: result.case.policy,
      values: result.installs.map(valueOf).filter((value) => value !== undefined),
    }))
    .filter(({ values }) => values.length > 0);
  return series.length === 0 ? undefined : { kind: "distribution", title, what, unit: "ms", series };
}
