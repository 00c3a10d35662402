/** Documents that the commands print with `--json`, in each of the forms that they have: printed here, not written by hand. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { auditMachine } from "../../../src/keeper/audit.ts";
import type { PolicyRunResult } from "../../../src/lab/policy-run.ts";
import type { ScenarioResult } from "../../../src/lab/scenario.ts";
import { RangeSet } from "../../../src/layout/range-set.ts";
import { insideLoadedJson, insideReconciledJson, insideStepJson } from "../../../src/report/inside.ts";
import { labRunJson } from "../../../src/report/lab-run.ts";
import { matrixJson } from "../../../src/report/matrix.ts";
import { policyRunsJson } from "../../../src/report/policy-run.ts";
import { serviceJson } from "../../../src/report/service.ts";
import { nodeSha256 } from "../../../src/targets/sha256.ts";
import { DEBIAN } from "../../../src/rules/policies/debian.ts";
import { RHEL8, RHEL_GUARDED } from "../../../src/rules/policies/rhel.ts";
import { ended } from "../../cli/ended.ts";
import { UnderWay } from "../../cli/under-way.ts";
import { HEAD, trial } from "../../lab/campaign/samples.ts";
import { machineOf, targetOf } from "../../simulation/sim.ts";
import { InsideSim } from "../../targets/local/inside-sim.ts";
import { copyMachine, TempTree } from "../../targets/local/simulated-tree.ts";
import { ROOT } from "../documents.ts";
import { StandIns } from "../stand-ins.ts";
import { RHEL7 } from "../../report/a-policy-run.ts";

const SMALL = "ram=256M,crash=16M";
const TRUE = `sim:6.1,${SMALL}`;
const GROWN = `${TRUE},dimm=128M`;

/** The documents of each kind, by the kind's name. */
export type Samples = ReadonlyMap<string, readonly unknown[]>;

/** Runs the commands. */
export async function jsonSamples(): Promise<Samples> {
  await using standIns = await StandIns.make();
  return new Map([
    ["audit", await audits()],
    ["audit local", await localAudits(standIns)],
    ["audit --all", [await printed("audit", "--all", "--config", await config(standIns), "--json")]],
    ["inspect TARGET", await inspections()],
    ["inspect FILE", await files(standIns)],
    [
      "keep --once",
      [await printed("keep", "--once", "--json", GROWN), await printed("keep", "--once", "--json", TRUE)],
    ],
    ["keep", await kept()],
    ["keep local --once", (await inside()).reconciled],
    ["keep local --dry-run", (await inside()).planned],
    [
      "keep local --install",
      [
        await printed("keep", "local", "--install", "--root", standIns.root, "--json"),
        await printed("keep", "local", "--uninstall", "--root", standIns.root, "--json"),
      ],
    ],
    ["load", (await inside()).loaded],
    [
      "plug",
      [
        await printed("plug", TRUE, "--memory", "128M", "--json"),
        await printed("plug", TRUE, "--cpus", "1", "--json"),
      ],
    ],
    ["unplug", await unplugged()],
    [
      "journal --at",
      [await printed("journal", "--directory", standIns.journal, "--at", "2026-11-29", "--json")],
    ],
    [
      "simulate",
      [
        await printed("simulate", "--json"),
        await printed("simulate", "--json", "--policy", "none", "--panics", "2", "--cost", "load=1"),
      ],
    ],
    ["simulate rfc", [await printed("simulate", "rfc", "--json")]],
    ["simulate --sweep", [await printed("simulate", "--sweep", "2", "--json")]],
    ["rules explain", await explanations(standIns)],
    [
      "rules check",
      [
        await printed("rules", "check", "--rules-dir", standIns.rules, "--style", "--json"),
        await printed(
          "rules",
          "check",
          "--rules-dir",
          standIns.rules,
          "--kernel-crash-hotplug",
          "1",
          "--json",
        ),
      ],
    ],
    ["lab run", [labRunJson(SETTING, await scenarios())]],
    ["lab run --policy", [policyRunsJson(SETTING, [{ result: POLICY_RUN, prediction: POLICY_RUN.figures }])]],
    ["lab campaign", [await printed("lab", "merge", "--json", ...(await campaignFiles()))]],
    ["lab matrix", [matrixJson({ head: { ...HEAD, kind: "matrix" }, trials: [FULL_TRIAL], twice: [] })]],
  ]);
}

/** What a command line prints: one document. */
async function printed(...args: readonly string[]): Promise<unknown> {
  const { stdout, stderr } = await ended(...args);
  if (stdout === "") throw new Error(`${args.join(" ")} printed nothing: ${stderr}`);
  return JSON.parse(stdout);
}

async function audits(): Promise<readonly unknown[]> {
  const specs = [
    TRUE,
    GROWN,
    `sim:6.12,${SMALL},dimm=128M,unplug=dimm0`,
    `${TRUE},noload`,
    `sim:6.1,${SMALL},cpu,memhotplug`,
  ];
  return await Promise.all(specs.map(async (spec) => await printed("audit", spec, "--json")));
}

async function localAudits({ root }: StandIns): Promise<readonly unknown[]> {
  await using tree = await TempTree.make();
  await copyMachine(machineOf("6.12"), tree);
  await tree.write(`usr/lib/udev/rules.d/${RHEL_GUARDED.fileName}`, RHEL_GUARDED.text);
  await tree.write("etc/udev/rules.d/99-bad.rules", 'FOO=="x"\n');
  await tree.write("usr/lib/systemd/system/kdump.service", "[Unit]\n");
  await tree.write(
    "lib/systemd/system/systemd-udevd.service",
    "[Service]\nSystemCallFilter=@system-service\n",
  );
  const log = `2026-01-02T03:04:05.100000+00:00 h kdump-udev-throttler[3]: kexec: unloaded kdump kernel
2026-01-02T03:04:05.712000+00:00 h kdump-udev-throttler[3]: kexec: loaded kdump kernel
`;
  await tree.write("var/log/messages", log);
  const guarded = await printed("audit", "local", "--root", tree.root, "--policy", "--json");
  await tree.write(`usr/lib/udev/rules.d/${RHEL_GUARDED.fileName}`, RHEL8.text);
  await tree.write(`usr/lib/udev/rules.d/${DEBIAN.fileName}`, DEBIAN.text);
  await tree.write(
    `etc/udev/rules.d/${DEBIAN.fileName}`,
    "# kdump-hotplug: the header is kept true from inside\n",
  );
  return [
    await printed("audit", "local", "--root", root, "--json"),
    guarded,
    await printed("audit", "local", "--root", tree.root, "--policy", "--json"),
  ];
}

async function config({ directory }: StandIns): Promise<string> {
  return join(directory, "keep.json");
}

async function inspections(): Promise<readonly unknown[]> {
  return [await printed("inspect", TRUE, "--json"), await printed("inspect", `${TRUE},noload`, "--json")];
}

async function files({ directory }: StandIns): Promise<readonly unknown[]> {
  const golden = join(ROOT, "test/elfcore/golden/kernel-6.6-base.bin");
  // A copy of crash memory, of the simulated machine.
  const machine = machineOf("6.1");
  const { start, end } = machine.blueprint.crashkRes!;
  const copy = join(directory, "crash-memory");
  await writeFile(copy, await machine.memory.read(start, Number(end - start)));
  return [await printed("inspect", golden, "--json"), await printed("inspect", copy, "--json")];
}

async function kept(): Promise<readonly unknown[]> {
  await using keep = new UnderWay("keep", GROWN, "--json");
  await keep.until(/"verdict":"accurate"/);
  const lines = keep.stdout
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const at = 0;
  return [
    ...lines,
    ...(["unreachable", "gone", "resumed"] as const).map((kind) =>
      serviceJson({ target: TRUE, at, event: { kind, reason: "x" } }),
    ),
    serviceJson({ target: TRUE, at, event: { kind: "found" } }),
    serviceJson({ target: TRUE, at, event: { kind: "failed", error: new Error("x") } }),
  ];
}

/** The agent inside of a machine, which is simulated. */
async function inside(): Promise<Readonly<Record<"planned" | "reconciled" | "loaded", readonly unknown[]>>> {
  const planned: unknown[] = [];
  const reconciled: unknown[] = [];
  const loaded: unknown[] = [];
  await using sim = await InsideSim.of(machineOf("6.1,load=kexec_load"));
  const plan = async (): Promise<void> => {
    await sim.refresh();
    const { before, step } = await sim.keeper.plan();
    planned.push(insideStepJson("local", before, step));
  };
  await plan();
  sim.machine.plugDimm(128n << 20n);
  await plan();
  reconciled.push(insideReconciledJson("local", await sim.keeper.reconcile()));
  await sim.refresh();
  reconciled.push(insideReconciledJson("local", await sim.keeper.reconcile()));
  await sim.refresh();
  loaded.push(insideLoadedJson("local", await sim.keeper.load()));
  await using locked = await InsideSim.of(machineOf("6.1,load=kexec_load,dimm=128M"));
  await locked.refresh();
  await locked.tree.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const { before, step } = await locked.keeper.plan();
  planned.push(insideStepJson("local", before, step));
  reconciled.push(insideReconciledJson("local", await locked.keeper.reconcile()));
  return { planned, reconciled, loaded };
}

async function unplugged(): Promise<readonly unknown[]> {
  return [
    await printed("unplug", GROWN, "dimm0", "--json"),
    await printed("unplug", `${GROWN},pin=dimm0`, "dimm0", "--json"),
  ];
}

async function explanations({ rules }: StandIns): Promise<readonly unknown[]> {
  const directory = await mkdtemp(join(tmpdir(), "kdh-docs-rules-"));
  try {
    const guarded = join(directory, "98-kexec.rules");
    await writeFile(
      guarded,
      `${RHEL_GUARDED.text}FOO=="x"\nENV{a}="b", ATTR{state}="online", IMPORT{program}="/bin/x"\n`,
    );
    return [
      await printed("rules", "explain", "--event", "online:memory40", "--rules-dir", rules, "--json"),
      await printed(
        "rules",
        "explain",
        "--event",
        "add:cpu3",
        "--kernel-crash-hotplug",
        "1",
        "--json",
        guarded,
      ),
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const SETTING = { qemu: "10.0.2", kexecTools: "2.0.29", accelerator: "tcg" };

/** What a run in real guests gave, in the shape that the compiler wants it: none is booted for this. */
async function scenarios(): Promise<readonly ScenarioResult[]> {
  const audit = await auditMachine(targetOf("6.1"), nodeSha256);
  const range = { start: 1n << 32n, end: (1n << 32n) + (1n << 30n) };
  const result: ScenarioResult = {
    scenario: {
      load: "kexec_file_load",
      way: "in-place",
      ramMiB: 1024,
      crashkernelMiB: 256,
      ram: "shared",
      dimmsMiB: [1024],
      acpiNoMemhotplug: true,
      seed: 1,
    },
    release: "6.1.0-56-cloud-amd64",
    boots: 1,
    timings: { boot: 1, load: 1, plug: 1, fill: 1, keep: 1, capture: 1, evidence: 1 },
    online: RangeSet.of([range]),
    keeper: { access: "shared RAM", before: audit, after: audit, pauseMicroseconds: 1100, bytesWritten: 744 },
    outcome: "complete",
    reasons: ["x"],
    inDump: RangeSet.of([range]),
    missing: RangeSet.of([range]),
    pages: [{ range, sampled: 64, nonZero: 64, equal: 64, different: 0, unreadable: 0 }],
  };
  return [result, { ...result, keeper: undefined }];
}

const POLICY_RUN: PolicyRunResult = {
  ...RHEL7,
  case: { ...RHEL7.case, dimmsMiB: [1024] },
  installs: [{ at: 5, pauseMicroseconds: undefined, bytesWritten: 744, reactionMs: 1 }],
  verdictReason: "x",
  failures: ["x"],
};

const RANGE = { start: "0x100000000", end: "0x110000000", bytes: 268435456 };
/** A line of results with everything in it. */
const FULL_TRIAL = trial(0, {
  missing: [RANGE],
  claimed: [RANGE],
  reasons: ["x"],
  cause: "not-loaded",
  pages: { sampled: 1, equal: 1, different: 0, unreadable: 0 },
  installs: [{ at: 1, pauseMicroseconds: 1, bytesWritten: 1, reactionMs: 1 }],
  errors: ["x"],
});

async function campaignFiles(): Promise<readonly string[]> {
  const directory = join(ROOT, "docs/campaign-2026-11-28");
  return (await readdir(directory)).map((name) => join(directory, name));
}

/** A line of `lab campaign --out`, from a campaign that was run. */
export async function campaignLines(): Promise<readonly unknown[]> {
  const lines: unknown[] = [];
  for (const file of await campaignFiles())
    for (const line of (await readFile(file, "utf8")).trim().split("\n")) lines.push(JSON.parse(line));
  return lines;
}
