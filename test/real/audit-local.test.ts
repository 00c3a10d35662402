/** `audit local` inside real guests, beside `audit qmp:` of the same guest at the same moment from outside. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { unloadCommand, waitUntilOnline } from "../../src/lab/guest-actions.ts";
import type { LabGuest } from "../../src/lab/guest.ts";
import { runProgram, text } from "../../src/lab/guest-process.ts";
import { GUEST_KDUMP_HOTPLUG, GUEST_NODE } from "../../src/lab/node.ts";
import { OWN_PROGRAM_MAIN } from "../../src/lab/fetch/own-program.ts";
import { QemuGuest } from "../../src/targets/qemu/guest.ts";
import { type CliJson, cliJson, fieldsOf } from "./cli.ts";
import { FULL_LOAD } from "./full-load.ts";
import { openLab } from "./lab.ts";
import { parseReport, readReport, type ReportPage } from "./report-page.ts";

const DIMM = 1n << 30n;
const LIMIT_MS = 240_000;
const NOBODY = 65_534;
/** In the guest. */
const GUEST_PAGE = "/tmp/page.html";
const LOCKDOWN = "/sys/kernel/security/lockdown";

async function run(guest: LabGuest, argv: readonly string[]): Promise<CliJson> {
  const { status, stdout, stderr } = await runProgram(guest.agent, argv, LIMIT_MS);
  const json: unknown = JSON.parse(text(stdout) || "null");
  expect.soft(json, text(stderr)).toMatchObject({ schemaVersion: 1, target: "local" });
  return { code: status, json: fieldsOf(json), stderr: text(stderr) };
}

const inside = async (guest: LabGuest, more: readonly string[] = []): Promise<CliJson> =>
  await run(guest, [GUEST_KDUMP_HOTPLUG, "audit", "local", "--json", ...more]);

/** What both sides can say. */
function inCommon({ code, json }: CliJson): unknown {
  const { missing, stale } = fieldsOf(json["memory"]);
  const { present, described, possible, undescribed } = fieldsOf(json["cpus"]);
  const { verdict, image } = json;
  return { code, verdict, image, missing, stale, present, described, possible, undescribed };
}

/** Audits from inside and from outside, and checks that both say the same. */
async function both(
  guest: LabGuest,
  moreInside: readonly string[] = [],
  moreOutside: readonly string[] = [],
): Promise<CliJson> {
  const told = await inside(guest, moreInside);
  const seen = await cliJson("audit", `qmp:${guest.qmpPath}`, ...moreOutside);
  expect.soft(told.stderr).toBe(moreInside.includes("--report") ? `Wrote ${GUEST_PAGE}\n` : "");
  expect(inCommon(told)).toEqual(inCommon(seen));
  return told;
}

/** The same, and each side's page is held against what its JSON says. */
async function bothWithPages(guest: LabGuest): Promise<CliJson> {
  const directory = await mkdtemp(join(tmpdir(), "kdh-pages-"));
  try {
    const [page, target] = [join(directory, "page.html"), `qmp:${guest.qmpPath}`];
    const told = await both(guest, ["--report", GUEST_PAGE], ["--report", page]);
    const fromOutside = await readReport(page);
    const copied = await runProgram(guest.agent, ["cat", GUEST_PAGE], LIMIT_MS);
    const fromInside = await parseReport(text(copied.stdout));
    expectPage(fromOutside, target, told.json, "there, not described: a dump would lack it");
    expectPage(fromInside, "local", told.json, "online, not described: a dump would lack it");
    expect(fromInside.sections.get("What the capture kernel would be told")).toEqual(
      fromOutside.sections.get("What the capture kernel would be told"),
    );
    // QEMU's own devices are seen from outside alone.
    expect(fromOutside.sections.get("Memory devices")?.rows[1]).toContain("✗ missing from the header");
    return told;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A page of a guest whose header lacks one DIMM. @param words for what is missing. */
function expectPage(page: ReportPage, target: string, json: CliJson["json"], words: string): void {
  const { verdict, reason } = json;
  expect(page.title).toBe(`Audit of ${target}`);
  expect(page.lead.tone).toBe("bad");
  expect(page.lead.text).toBe(
    `✗ ${String(verdict)}: ${String(reason)}`.replace(
      "keep local",
      target === "local" ? "keep local" : "keep",
    ),
  );
  const map = page.sections.get("Physical memory");
  expect(map?.missing).toBe("1 GiB");
  expect(map?.rows.find(([, what]) => what === words)?.[2]).toBe("1 GiB");
  expect(page.sections.get("The core header before and after")?.text).toMatch(
    /Nothing was written: this is what kdump-hotplug keep would change\. .* [1-9]\d* added/,
  );
  const headers = fieldsOf(json["image"])["programHeaders"];
  expect(page.sections.get("What the capture kernel would be told")?.rows).toHaveLength(1 + Number(headers));
}

/** After the load it is accurate; with a DIMM more it is not, and says what is missing. @returns the first answer. */
async function loadedThenGrown(guest: LabGuest): Promise<CliJson> {
  await using others = await QemuGuest.open(guest.labQmpPath);
  const loaded = await both(guest);
  expect(loaded).toMatchObject({
    code: 0,
    json: {
      verdict: "accurate",
      kdump: { crashLoaded: true, captureKernel: false, kexecLoadDisabled: false },
    },
  });
  expect(fieldsOf(loaded.json["kdump"])["crashHotplug"]).toEqual({ memory: null, cpu: null });
  const dimm = await others.plugDimm({ size: DIMM });
  const range = { start: dimm.address, end: dimm.address + DIMM };
  await waitUntilOnline(guest.agent, [range]);
  expect(await bothWithPages(guest)).toMatchObject({
    code: 1,
    json: {
      verdict: "inaccurate",
      memory: {
        missing: [{ start: `0x${range.start.toString(16)}`, end: `0x${range.end.toString(16)}` }],
      },
    },
  });
  return loaded;
}

// Other kernels are looked at from inside by the tests of keep local.
describe("Linux 6.1 from inside", async () => {
  const lab = await openLab("audit local on 6.1", "6.1", { node: true });
  afterAll(() => lab?.close());

  it.skipIf(!lab)("is told as from outside: with a DIMM, to nobody, locked down", async () => {
    await using guest = await lab!.bootLoaded({ ramMiB: 1536, load: "kexec_file_load" });
    const loaded = await loadedThenGrown(guest);
    const inspected = await run(guest, [GUEST_KDUMP_HOTPLUG, "inspect", "local", "--json"]);
    expect(inspected.code).toBe(0);
    expect(fieldsOf(inspected.json["image"])["headers"]).toHaveProperty("0.kind", "cpu-note");

    const asNobody = `process.exitCode = require("child_process").spawnSync(${JSON.stringify(GUEST_NODE)}, [${JSON.stringify(OWN_PROGRAM_MAIN)}, "audit", "local", "--json"], { uid: ${NOBODY}, gid: ${NOBODY}, stdio: "inherit" }).status`;
    const nobody = await run(guest, [GUEST_NODE, "-e", asNobody]);
    expect(nobody).toMatchObject({ code: 3, stderr: "", json: { verdict: "unknown" } });
    expect(nobody.json["reason"]).toMatch(/read it as root/);

    expect(loaded.json["kdump"]).toMatchObject({
      lockdown: "none",
      repair: { permitted: true, reason: null },
    });
    await guest.agent.output(`echo integrity > ${LOCKDOWN}`);
    const locked = await both(guest);
    expect(locked.json).toMatchObject({
      verdict: "inaccurate",
      kdump: { lockdown: "integrity", repair: { permitted: false } },
    });
    // The lab's firmware has no keys, so that the kernel takes Debian's own signature for none: nothing may be loaded.
    const keep = [GUEST_KDUMP_HOTPLUG, "keep", "local", "--once", ...FULL_LOAD];
    const { status, stdout, stderr } = await runProgram(guest.agent, keep, LIMIT_MS);
    expect({ status, stdout: text(stdout) }).toEqual({ status: 1, stdout: "" });
    expect(text(stderr)).toMatch(/locked down \(integrity\) and does not accept that file \(EPERM\)/);
    expect(inCommon(await both(guest))).toEqual(inCommon(locked));

    await guest.agent.output(`echo confidentiality > ${LOCKDOWN}`);
    const hidden = await inside(guest);
    expect(hidden).toMatchObject({ code: 3, stderr: "", json: { verdict: "unknown" } });
    expect(hidden.json["reason"]).toMatch(/kcore may not be opened \(EPERM\): .*lockdown=confidentiality/);
    await guest.agent.finish("guest");
  });

  it.skipIf(!lab)("tells of a kernel that was locked down when it booted", async () => {
    await using guest = await lab!.boot({ ramMiB: 1536, append: "lockdown=integrity" });
    const bare = await both(guest);
    expect(bare).toMatchObject({
      code: 3,
      json: { verdict: "not-loaded", kdump: { lockdown: "integrity", repair: { permitted: false } } },
    });
    await guest.agent.finish("guest");
  });

  // Nobody can unload an image in a kernel that is locked down: that takes another guest.
  it.skipIf(!lab)("is told as from outside when it is unloaded", async () => {
    await using guest = await lab!.bootLoaded({ ramMiB: 1536, load: "kexec_load" });
    await guest.agent.output(unloadCommand({ load: "kexec_load" }));
    const unloaded = await both(guest);
    expect(unloaded).toMatchObject({
      code: 3,
      json: {
        verdict: "not-loaded",
        kdump: { crashLoaded: false, lockdown: "none", repair: { permitted: true, reason: null } },
      },
    });
    expect(unloaded.json["reason"]).toMatch(/^Crash memory \(256 MiB\) is reserved, but no capture kernel/);
    await guest.agent.finish("guest");
  });
});
