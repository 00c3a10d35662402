/** The page of `lab run`: the scenario without us and with us. */
import type { ScenarioResult } from "../../lab/scenario.ts";
import { type LabRunSetting, labRunRows, labRunTitle, WAY_WORDS } from "../lab-run.ts";
import { auditClasses, CONDITION_OF, OUTSIDE_WORDS } from "./from-audit.ts";
import { duration } from "./draw-timeline.ts";
import { mapOfMoments, type Moment } from "./map-space.ts";
import type { Cell, HeaderSection, MapSection, PageModel, Section } from "./model.ts";
import type { PageSetting } from "./setting.ts";

/** @param ran - what the lab's programs were. */
export function labRunPage(
  setting: PageSetting,
  ran: LabRunSetting,
  results: readonly ScenarioResult[],
): PageModel {
  const first = results[0]!;
  const headers = results.flatMap(headerOf);
  const reasons = results.flatMap((result) =>
    result.reasons.map((reason) => `${WAY_WORDS[result.scenario.way]}: ${reason}`),
  );
  const [head = [], ...rows] = labRunRows(results);
  const sections: (Section | undefined)[] = [
    {
      kind: "table",
      title: "Side by side",
      head,
      rows: rows.map(([name = "", ...cells]) => [
        name,
        ...cells.map((cell): Cell => {
          if (name !== "the dump is") return cell;
          return { tone: cell === "COMPLETE" ? "good" : "bad", text: cell.toLowerCase() };
        }),
      ]),
    },
    reasons.length === 0 ? undefined : { kind: "notes", title: "Why a dump is not complete", notes: reasons },
    mapOf(results),
    ...headers,
    {
      kind: "table",
      title: "How long each part took",
      head: ["", ...results.map(({ scenario }) => WAY_WORDS[scenario.way])],
      rows: (["boot", "load", "plug", "fill", "keep", "capture", "evidence"] as const).map((part) => [
        part,
        ...results.map(({ timings }) => duration(timings[part])),
      ]),
    },
  ];
  return {
    title: `Linux ${first.release}, panicked ${results.length === 1 ? WAY_WORDS[first.scenario.way] : "without us and with us"}`,
    lead: leadOf(results),
    facts: [
      ["kernel", first.release],
      ["QEMU", `${ran.qemu} (${ran.accelerator})`],
      ["capture kernel", `loaded by ${first.scenario.load} (kexec-tools ${ran.kexecTools})`],
      ["guest", labRunTitle(ran, results).split("\n")[1] ?? ""],
      ["RAM", first.scenario.ram === "shared" ? "a file that QEMU shares" : "private to QEMU"],
      ...results.flatMap(({ scenario, keeper }) =>
        keeper ? [[`memory reached (${WAY_WORDS[scenario.way]})`, keeper.access] as const] : [],
      ),
      ...setting.host,
    ],
    command: setting.command,
    sections: sections.filter((section) => section !== undefined),
    lacking: [
      [
        "Blind, stale and accurate over time",
        "the guest is looked at when it panics; lab run --policy watches it all the time",
      ],
      ["Outcomes with intervals", "one panic of each is no share; lab campaign counts many"],
      ["Reactions and pauses", "one install has no distribution; its pause is in the table"],
      ...(headers.length > 0
        ? []
        : [["Header before and after", "nobody wrote a header in this run"] as const]),
    ],
  };
}

function leadOf(results: readonly ScenarioResult[]): PageModel["lead"] {
  const ours = results.filter(({ scenario }) => scenario.way !== "nothing");
  const words = results.map(
    ({ scenario, outcome }) =>
      `${WAY_WORDS[scenario.way]} ${outcome === "no-dump" ? "there is no dump" : `the dump is ${outcome}`}`,
  );
  const sentence = `${words.join(", ")}.`;
  const text = `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}`;
  if (ours.length === 0) return { tone: "plain", text };
  return { tone: ours.every(({ outcome }) => outcome === "complete") ? "good" : "bad", text };
}

/** Every run's memory: as the keeper found it and left it, and what the dump had. */
function mapOf(results: readonly ScenarioResult[]): MapSection {
  return mapOfMoments(
    {
      title: "Physical memory",
      text: "Before the panic as it was seen from outside, at the panic as the guest's kernel and the dump's header say.",
      words: { ...OUTSIDE_WORDS, described: "in the dump, not online at the panic" },
    },
    results.map((result) => {
      const { scenario, keeper, online, inDump, missing, outcome } = result;
      const moments: Moment[] = keeper
        ? [
            {
              text:
                scenario.way === "plug"
                  ? "before the first DIMM"
                  : "the DIMMs are there, nothing was corrected yet",
              condition: CONDITION_OF[keeper.before.verdict],
              classes: auditClasses(keeper.before),
            },
            {
              text: "the header was written in place",
              condition: CONDITION_OF[keeper.after.verdict],
              classes: auditClasses(keeper.after),
            },
          ]
        : [];
      moments.push({
        text: `at the panic: ${outcome === "no-dump" ? "no dump" : `the dump is ${outcome}`}`,
        condition: outcome === "no-dump" ? "blind" : outcome === "incomplete" ? "stale" : "accurate",
        classes: { held: online.intersect(inDump), missing, described: inDump.subtract(online) },
      });
      return { name: WAY_WORDS[scenario.way], moments };
    }),
  );
}

function headerOf({ scenario, keeper }: ScenarioResult): readonly HeaderSection[] {
  const [before, after] = [keeper?.before.image, keeper?.after.image];
  if (!before || !after) return [];
  return [
    {
      kind: "header",
      title: `The core header before and after (${WAY_WORDS[scenario.way]})`,
      text: "Read from the guest's crash memory before the keeper wrote, and after.",
      before: { words: "as the guest loaded it", header: before.header },
      after: { words: "as it was written in place", header: after.header },
    },
  ];
}
