/** deploy/systemd/kdump-hotplug.service under a real systemd: what its hardening leaves a keeper, and what it takes. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { noSystemdMachine, OUT, SystemdMachine } from "./unit/systemd-machine.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
/** Where the package has the program. */
const LIB = "usr/lib/kdump-hotplug";
const DIST = `/${LIB}/dist`;
const PREPARE = `
mkdir -p ${LIB} var/lib/prometheus/node-exporter
mount --bind "${SOURCE}" ${LIB}
echo theirs >tmp/of-others
`;
const RESULT = "/var/lib/kdump-hotplug/result.json";
const GUEST = "/run/guests/a.sock";
const unit = await readFile(`${SOURCE}deploy/systemd/kdump-hotplug.service`, "utf8");
const text = async (name: string): Promise<string> =>
  await readFile(new URL(`unit/${name}`, import.meta.url), "utf8");

/** The unit as it is; what it starts is the probe, and somebody else's directories are where a host has them. */
const node = process.execPath;
const OVERRIDES = `
[Unit]
ConditionPathExists=
After=guest.service
[Service]
ExecStart=
ExecStart=${node} ${OUT}/probe.mjs ${DIST} ${GUEST} ${RESULT}
StandardOutput=append:${OUT}/log
StandardError=append:${OUT}/log
WatchdogSec=6
ExecStopPost=+/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >>${OUT}/ends'
`;
const GUEST_UNIT = `
[Unit]
DefaultDependencies=no
[Service]
User=nobody
UMask=0077
RuntimeDirectory=guests
RuntimeDirectoryMode=0700
ExecStart=${node} ${OUT}/guest.mjs ${DIST} ${GUEST}
StandardError=append:${OUT}/log
`;
const GUEST_IS_THERE = `i=0; while ! [ -S ${GUEST} ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i + 1)); done`;
const SCRIPT = `
${GUEST_IS_THERE}
show() { systemctl show kdump-hotplug.service -p ActiveState,StatusText,NRestarts,Result,ExecMainStatus,ExecMainCode >${OUT}/$1; }
systemctl start kdump-hotplug.service
show started
cp ${RESULT} ${OUT}/result.json
stat -c '%a %U %n' /run/kdump-hotplug /run/kdump-hotplug-memory /var/lib/kdump-hotplug /var/lib/kdump-hotplug/journal >${OUT}/modes
systemctl reload kdump-hotplug.service
sleep 1
show reloaded
systemctl kill --kill-whom=main --signal=USR2 kdump-hotplug.service
i=0
while [ "$(systemctl show kdump-hotplug.service -p NRestarts --value)" = 0 ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
show hung
i=0
while ! systemctl is-active --quiet kdump-hotplug.service && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
systemctl stop kdump-hotplug.service
show stopped
ls /run >${OUT}/run
sleep 1
cp /var/lib/kdump-hotplug/helped ${OUT}/helped
`;

/** A machine with the guest, and the probe under `keeper`. */
async function boot(keeper: string, { script }: { readonly script: string }): Promise<SystemdMachine> {
  return await SystemdMachine.boot({
    units: {
      "kdump-hotplug.service": keeper,
      "kdump-hotplug.service.d/test.conf": OVERRIDES,
      "guest.service": GUEST_UNIT,
      "test.target": "[Unit]\nDefaultDependencies=no\nWants=guest.service script.service\n",
    },
    prepare: PREPARE,
    script,
    files: { "probe.mjs": await text("probe.mjs"), "guest.mjs": await text("guest.mjs") },
  });
}

const reason = await noSystemdMachine();

describe.skipIf(reason)(`the unit${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("leaves a keeper what it needs and takes the rest; reload, watchdog and stop work", async () => {
    await using machine = await boot(unit, { script: SCRIPT });
    await machine.done(100_000);
    const log = await machine.read("log").catch(() => "");
    const facts = async (name: string): Promise<Readonly<Record<string, string>>> =>
      Object.fromEntries(
        (await machine.read(name))
          .trim()
          .split("\n")
          .map((line) => line.split(/=(.*)/).slice(0, 2)),
      );

    expect([log, await facts("started")]).toMatchObject(["", { ActiveState: "active", StatusText: "up" }]);
    const outcomes: unknown = JSON.parse(await machine.read("result.json"));
    expect(outcomes).toEqual({
      "watchdog, ms": 3000,
      // CAP_CHOWN 0, CAP_DAC_OVERRIDE 1, CAP_SYS_PTRACE 19
      CapEff: "0000000000080003",
      CapBnd: "0000000000080003",
      NoNewPrivs: "1",
      Seccomp: "2",
      "find the guest's process by its socket": "done",
      "find the file behind its RAM": "done",
      "write to its RAM and read it back": "done",
      "lock out other keepers": "done",
      "have it make a file in a directory of ours, and take both away": "done",
      "the directory": "/run/kdump-hotplug-memory",
      "serve metrics": "done",
      "write its journal": "done",
      "make its control socket's directory its own": "done",
      "not: write to the system": "EROFS",
      "not: write to /etc": "EROFS",
      "not: write to home directories": "EROFS",
      "not: open the machine's memory": "ENOENT",
      "not: write kernel settings": "EROFS",
      "not: load a kernel": "errno 1",
      "not: open a netlink socket": "errno 97",
      "not: become another user": "EPERM",
      "not: signal the guest": "EPERM",
      "see the /tmp of others": "ENOENT",
    });
    expect((await machine.read("modes")).trim().split("\n")).toEqual([
      "700 root /run/kdump-hotplug",
      "711 root /run/kdump-hotplug-memory",
      "700 root /var/lib/kdump-hotplug",
      "600 root /var/lib/kdump-hotplug/journal",
    ]);
    expect(await facts("reloaded")).toMatchObject({
      ActiveState: "active",
      StatusText: "read again",
      NRestarts: "0",
    });
    expect(await facts("hung")).toMatchObject({ NRestarts: "1" });
    expect(await facts("stopped")).toMatchObject({
      ActiveState: "inactive",
      Result: "success",
    });
    // One that hangs is ended by SIGABRT, and started again; one that is told to end ends by itself.
    expect((await machine.read("ends")).trim().split("\n")).toEqual([
      "watchdog killed ABRT",
      "success exited 130",
    ]);
    // Killed or told to end: the process that lets guests go on has the time for it.
    expect(await machine.read("helped")).toBe("helped\nhelped\n");
    expect((await machine.read("run")).split("\n").filter((name) => name.startsWith("kdump"))).toEqual([]);
  }, 130_000);

  test.each([
    ["CAP_SYS_PTRACE", "find the guest's process by its socket"],
    ["CAP_DAC_OVERRIDE", "write to its RAM and read it back"],
    ["CAP_CHOWN", "have it make a file in a directory of ours, and take both away"],
  ])(
    "needs %s",
    async (capability, what) => {
      const without = unit.replace(new RegExp(`^(CapabilityBoundingSet=.*)${capability}`, "m"), "$1");
      expect(without).not.toBe(unit);
      await using machine = await boot(without, {
        script: `${GUEST_IS_THERE}; systemctl start kdump-hotplug.service; cp ${RESULT} ${OUT}/result.json`,
      });
      await machine.done(100_000);
      const outcomes = v.parse(
        v.record(v.string(), v.unknown()),
        JSON.parse(await machine.read("result.json")),
      );
      expect(outcomes[what]).not.toBe("done");
      // It ran, and what needs nothing of the kind went well.
      expect(outcomes).toMatchObject({ "serve metrics": "done", "write its journal": "done" });
    },
    130_000,
  );
});

test("systemd's own measure of the unit's exposure is what docs/service.md says", async ({ skip }) => {
  const analyze = promisify(execFile)("systemd-analyze", [
    "security",
    "--offline=yes",
    "--no-pager",
    "--threshold=30",
    `${SOURCE}deploy/systemd/kdump-hotplug.service`,
  ]);
  const said = await analyze.then(
    ({ stdout }) => stdout,
    (error: { readonly code: unknown; readonly stdout?: string }) =>
      error.code === "ENOENT" ? undefined : (error.stdout ?? ""),
  );
  skip(said === undefined, "systemd-analyze is not installed");
  const [, level] = /Overall exposure level for \S+: (\d+\.\d)/.exec(said ?? "") ?? [];
  expect(Number(level)).toBeLessThanOrEqual(3.0);
  expect(await readFile(`${SOURCE}docs/service.md`, "utf8")).toContain(`exposure level ${level}`);
});

test("what the unit starts is what the package has", () => {
  expect(unit).toMatch(
    /^ExecStart=\/usr\/bin\/kdump-hotplug keep --config \/etc\/kdump-hotplug\/keep\.json$/m,
  );
});
