/** The page of `audit`. */
import { kindsOf } from "../../elfcore/kinds.ts";
import type { CoreHeader } from "../../elfcore/header.ts";
import { LayoutError } from "../../layout/error.ts";
import { describedMemory } from "../../layout/described.ts";
import { formatBytes, formatRange, type PhysicalRange } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { type Audit, isCorrectable, type Verdict } from "../../keeper/audit.ts";
import { wantedHeaders } from "../../keeper/wanted-headers.ts";
import type { Condition } from "../../simulation/world/state.ts";
import { isSimulated } from "../../targets/target.ts";
import { auditText } from "../audit.ts";
import { imageRows } from "../header.ts";
import { jsonAddress } from "../json.ts";
import { type Classes, mapOfMoments, type Moment } from "./map-space.ts";
import type { CellClass, HeaderSection, MapSection, PageModel, Section, Tone } from "./model.ts";
import type { PageSetting } from "./setting.ts";

const TONES: Readonly<Record<Verdict, Tone>> = {
  accurate: "good",
  inaccurate: "bad",
  "not-loaded": "bad",
  broken: "bad",
  unknown: "unknown",
};

/** What a panic would give by a verdict; undefined where it cannot be told. */
export const CONDITION_OF: Readonly<Record<Verdict, Condition | undefined>> = {
  accurate: "accurate",
  inaccurate: "stale",
  "not-loaded": "blind",
  broken: "blind",
  unknown: undefined,
};

/** @param details - what the terminal says beside the audit, such as the policy of the machine; empty where there is none. */
export function auditPage(
  setting: PageSetting,
  target: string,
  audit: Audit,
  details: { readonly title: string; readonly text: string } | undefined,
): PageModel {
  const { image, layout } = audit;
  const map = auditMap(audit);
  const header = headerSection(audit);
  const sections: (Section | undefined)[] = [
    map,
    "kind" in header ? header : undefined,
    image && headerTable(image.header),
    layout.devices.length === 0 ? undefined : devicesTable(audit),
    details && { kind: "text", title: details.title, body: details.text },
    { kind: "text", title: "As the terminal shows it", body: auditText(target, audit) },
  ];
  return {
    title: `Audit of ${target}`,
    ...(isSimulated(target) && {
      simulated: "this machine is one of bytes in this program's memory, not a real one.",
    }),
    lead: { tone: TONES[audit.verdict], text: `${audit.verdict}: ${audit.reason}` },
    facts: [
      ["target", target],
      ...(image ? imageRows(image) : []),
      [
        "CPUs",
        `${audit.cpus.present} present, ${audit.cpus.described} described${audit.cpus.possible === undefined ? "" : `, ${audit.cpus.possible} possible`}`,
      ],
      ...audit.warnings.map((warning) => ["warning", warning] as const),
      ...setting.host,
    ],
    command: setting.command,
    sections: sections.filter((section) => section !== undefined),
    lacking: [
      ...("none" in header ? [["Header before and after", header.none] as const] : []),
      ...(map ? [] : [["Memory map", "nothing is known of the machine's memory"] as const]),
      [
        "Time",
        "an audit looks at one moment; keep --journal DIR puts down what is done when, and journal --at answers for a moment",
      ],
      [
        "Reactions, pauses and outcomes",
        "nothing was changed and nothing panicked; lab run, lab campaign and lab matrix do both",
      ],
    ],
  };
}

/** Memory now and, where something is wrong, as a keeper would have it; undefined where nothing is known. */
export function auditMap(audit: Audit): MapSection | undefined {
  const { image, layout, missing, stale } = audit;
  if (layout.backed.isEmpty && image === undefined) return undefined;
  const moments: Moment[] = [
    { text: "as it is now", condition: CONDITION_OF[audit.verdict], classes: auditClasses(audit) },
  ];
  const wanted = image && isCorrectable(image) ? wantedOf(audit) : undefined;
  if (wanted && !(missing.isEmpty && stale.isEmpty))
    moments.push({
      text: "as kdump-hotplug keep would have it",
      condition: "accurate",
      classes: auditClasses(audit, wanted),
    });
  return mapOfMoments({ title: "Physical memory", words: layout.inside ? INSIDE_WORDS : OUTSIDE_WORDS }, [
    { name: "", moments },
  ]);
}

const WORDS = {
  stale: "described, gone: a dump would claim it",
  crash: "crash memory: the capture kernel's own, in no dump",
  none: "nothing there",
} as const;

const INSIDE_WORDS: Readonly<Partial<Record<CellClass, string>>> = {
  held: "online and described",
  missing: "online, not described: a dump would lack it",
  described: "there and described, not online",
  backed: "there, not described, and need not be",
  ...WORDS,
};

/** From outside nobody sees what the guest has brought online. */
export const OUTSIDE_WORDS: Readonly<Partial<Record<CellClass, string>>> = {
  held: "there and described",
  missing: "there, not described: a dump would lack it",
  backed: "there, not described, and need not be (firmware, or no RAM of the guest's)",
  ...WORDS,
};

/** What is of which class at an audit. @param header - in place of the one that is loaded. */
export function auditClasses({ image, layout, missing, stale }: Audit, header?: CoreHeader): Classes {
  const { backed, inside } = layout;
  if (!image) return { backed };
  const lacking = header ? missing.subtract(describedMemory(header)) : missing;
  const described = describedMemory(header ?? image.header);
  const crash = image.crashMemory;
  const there = backed.intersect(described);
  const held = inside ? there.intersect(inside.online) : there;
  return {
    held,
    described: there.subtract(held),
    backed: backed.subtract(described).subtract(crash).subtract(lacking),
    crash,
    stale: header ? described.subtract(backed) : stale,
    missing: lacking,
  };
}

/** The header that a keeper would write; undefined where it is as it should be, or forged so that none can be made. */
function wantedOf(audit: Audit): CoreHeader | undefined {
  try {
    return wantedHeaders(audit)[0];
  } catch (error) {
    if (error instanceof LayoutError) return undefined;
    throw error;
  }
}

function headerSection(audit: Audit): HeaderSection | { readonly none: string } {
  const { image } = audit;
  if (!image) return { none: `there is no header: ${audit.verdict}` };
  if (!isCorrectable(image))
    return { none: "what is loaded cannot be corrected in place, so there is no header to compare it with" };
  const wanted = wantedOf(audit);
  if (!wanted)
    return {
      none:
        audit.verdict === "accurate"
          ? "the header is as it should be: a keeper would change nothing"
          : "no header can be made from the one that is loaded",
    };
  return {
    kind: "header",
    title: "The core header before and after",
    text: "Nothing was written: this is what kdump-hotplug keep would change.",
    before: { words: "as it is loaded", header: image.header },
    after: { words: "as keep would write it", header: wanted },
  };
}

/** Headers of more program headers are cut. */
const MAX_ROWS = 300;

function headerTable(header: CoreHeader): Section {
  const kinds = kindsOf(header);
  return {
    kind: "table",
    title: "What the capture kernel would be told",
    head: ["program header", "what", "start", "end", "size", "virtual"],
    limit: MAX_ROWS,
    rows: header.programHeaders.map((each, i) => [
      String(i),
      kinds[i] ?? "unknown",
      { code: jsonAddress(each.p_paddr) },
      { code: jsonAddress(each.p_paddr + each.p_memsz) },
      formatBytes(each.p_memsz),
      { code: jsonAddress(each.p_vaddr) },
    ]),
  };
}

function devicesTable({ layout, missing, image }: Audit): Section {
  const described = image ? describedMemory(image.header) : RangeSet.empty;
  const state = (range: PhysicalRange | undefined): { readonly tone: Tone; readonly text: string } => {
    if (range === undefined) return { tone: "plain", text: "nothing plugged" };
    if (missing.overlaps(range)) return { tone: "bad", text: "missing from the header" };
    return described.covers(range)
      ? { tone: "good", text: "described" }
      : { tone: "plain", text: "not described" };
  };
  return {
    kind: "table",
    title: "Memory devices",
    head: ["device", "what", "range", "header"],
    limit: MAX_ROWS,
    rows: layout.devices.map(({ id, kind, range }) => [
      id ?? "without an id",
      kind,
      { code: range ? formatRange(range) : "-" },
      state(range),
    ]),
  };
}
