/** The unit and real QEMUs of another user, which stand still before their first instruction: no kernel is needed. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { noSystemdMachine, OUT, SystemdMachine } from "./unit/systemd-machine.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const LIB = "usr/lib/kdump-hotplug";
const RESULT = "/var/lib/kdump-hotplug/result.json";
const QEMU = "/usr/bin/qemu-system-x86_64";
const unit = await readFile(`${SOURCE}deploy/systemd/kdump-hotplug.service`, "utf8");
const probe = await readFile(new URL("unit/qemu-probe.mjs", import.meta.url), "utf8");

/** RAM in the three ways in which a keeper meets it; the file is in a directory that the unit may only read. */
const GUESTS = {
  memfd: "-object memory-backend-memfd,id=ram,size=64M,share=on -machine memory-backend=ram",
  file: "-object memory-backend-file,id=ram,size=64M,share=on,mem-path=/run/file/ram -machine memory-backend=ram",
  plain: "-m 64M",
};
const socketOf = (name: string): string => `/run/${name}/qmp.sock`;

function guestUnit(name: string, ram: string): string {
  return `[Unit]
DefaultDependencies=no
[Service]
User=nobody
UMask=0077
RuntimeDirectory=${name}
RuntimeDirectoryMode=0700
ExecStart=${QEMU} -S -nodefaults -display none -machine q35,accel=tcg -m 64M ${ram} -qmp unix:${socketOf(name)},server=on,wait=off
StandardError=append:${OUT}/log
`;
}

const reason = existsSync(QEMU) ? await noSystemdMachine() : `${QEMU} is not installed`;

describe.skipIf(reason)(`QEMUs under the unit${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("of another user are opened, locked, paused and written to, by their files, in their memory and by their gdbstub", async () => {
    const sockets = Object.keys(GUESTS).map(socketOf);
    await using machine = await SystemdMachine.boot({
      units: {
        "kdump-hotplug.service": unit,
        "kdump-hotplug.service.d/test.conf": `[Unit]
ConditionPathExists=
[Service]
ExecStart=
ExecStart=${process.execPath} ${OUT}/probe.mjs /${LIB}/dist ${RESULT} ${sockets.join(" ")}
StandardError=append:${OUT}/log
`,
        ...Object.fromEntries(
          Object.entries(GUESTS).map(([name, ram]) => [`${name}.service`, guestUnit(name, ram)]),
        ),
        "test.target": `[Unit]\nDefaultDependencies=no\nWants=script.service ${Object.keys(GUESTS)
          .map((name) => `${name}.service`)
          .join(" ")}\n`,
      },
      prepare: `mkdir -p ${LIB}; mount --bind "${SOURCE}" ${LIB}`,
      script: `
for s in ${sockets.join(" ")}; do i=0; while ! [ -S $s ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done; done
systemctl start kdump-hotplug.service
cp ${RESULT} ${OUT}/result.json
ls /run/kdump-hotplug-memory >${OUT}/left
`,
      files: { "probe.mjs": probe },
    });
    await machine.done(110_000);
    expect(await machine.read("log").catch(() => "")).toBe("");
    expect(JSON.parse(await machine.read("result.json"))).toEqual({
      [`${socketOf("memfd")} auto`]: "shared-file: 1,2,3",
      [`${socketOf("memfd")} gdb`]: "gdbstub: 1,2,3",
      [`${socketOf("file")} auto`]: "shared-file: 1,2,3",
      [`${socketOf("file")} gdb`]: "gdbstub: 1,2,3",
      [`${socketOf("plain")} auto`]: "process-memory: 1,2,3",
      [`${socketOf("plain")} gdb`]: "gdbstub: 1,2,3",
    });
    expect(await machine.read("left")).toBe("");
  }, 130_000);
});
