/** The keeper itself under its unit: no stand-in, and nothing of the unit changed. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { noSystemdMachine, OUT, SystemdMachine } from "./unit/systemd-machine.ts";

const SOURCE = fileURLToPath(new URL("../../", import.meta.url));
const PORT = 49807;
const CONFIG = JSON.stringify({
  targets: ["sim:6.1", "sim:6.1,dimm=1G"],
  listen: `127.0.0.1:${PORT}`,
  textfile: "/var/lib/prometheus/node-exporter/kdump.prom",
});
const PREPARE = `
mkdir -p usr/lib/kdump-hotplug etc/kdump-hotplug var/lib/prometheus/node-exporter
mount --bind "${SOURCE}" usr/lib/kdump-hotplug
# Where a service looks for Node.
[ -x usr/bin/node ] || ln -s "${process.execPath}" usr/local/bin/node
ln -s ../lib/kdump-hotplug/dist/cli/main.js usr/bin/kdump-hotplug
chmod a+x usr/lib/kdump-hotplug/dist/cli/main.js
cp out/keep.json etc/kdump-hotplug/keep.json
`;
const SCRIPT = `
show() { systemctl show kdump-hotplug.service -p ActiveState,StatusText,NRestarts,Result >${OUT}/$1; }
ask() { ${process.execPath} -e 'fetch(process.argv[1]).then(async (a) => console.log(a.status, await a.text()), (e) => console.log(String(e.cause)))' http://127.0.0.1:${PORT}/$1; }
systemctl start kdump-hotplug.service
show started
i=0
until ask readyz | grep -q '^200' || [ $i -gt 60 ]; do sleep 0.5; i=$((i + 1)); done
sleep 2
ask readyz >${OUT}/readyz
ask healthz >${OUT}/healthz
ask metrics >${OUT}/metrics
echo '{"targets": 7}' >/etc/kdump-hotplug/keep.json
systemctl reload kdump-hotplug.service
sleep 1
show refused
cp ${OUT}/keep.json /etc/kdump-hotplug/keep.json
systemctl reload kdump-hotplug.service
sleep 1
show reloaded
date +%s.%N >${OUT}/stopping
systemctl stop kdump-hotplug.service
date +%s.%N >${OUT}/stopped
cp /var/lib/prometheus/node-exporter/kdump.prom ${OUT}/kdump.prom
`;
const unit = await readFile(`${SOURCE}deploy/systemd/kdump-hotplug.service`, "utf8");
const reason = await noSystemdMachine();

describe.skipIf(reason)(`keep under its unit${reason ? ` (skipped: ${reason})` : ""}`, () => {
  test("starts, keeps, is asked, reads its configuration again, and ends in time", async () => {
    await using machine = await SystemdMachine.boot({
      units: {
        "kdump-hotplug.service": unit,
        "kdump-hotplug.service.d/test.conf": `[Service]
StandardOutput=append:${OUT}/log
StandardError=append:${OUT}/log
ExecStopPost=+/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >>${OUT}/ends'
`,
      },
      prepare: PREPARE,
      script: SCRIPT,
      files: { "keep.json": CONFIG },
    });
    await machine.done(110_000);
    expect(await machine.read("started")).toMatch(/^StatusText=Keeps 2 targets$[\s\S]*^ActiveState=active$/m);
    expect(await machine.read("healthz")).toBe("200 yes\n\n");
    expect(await machine.read("readyz")).toBe("200 yes\n\n");
    const accurate = 'kdump_hotplug_target_verdict{target="sim:6.1,dimm=1G",verdict="accurate"} 1';
    expect(await machine.read("metrics")).toContain(accurate);
    expect(await machine.read("kdump.prom")).toContain(accurate);
    expect(await machine.read("refused")).toMatch(/^StatusText=Refused: .*targets: expected a list/m);
    expect(await machine.read("reloaded")).toMatch(
      /^StatusText=Read its configuration again$[\s\S]*^NRestarts=0$[\s\S]*^ActiveState=active$/m,
    );
    expect(await machine.read("ends")).toBe("success exited 130\n");
    const [from, to] = [Number(await machine.read("stopping")), Number(await machine.read("stopped"))];
    expect(to - from).toBeLessThan(3);
  }, 130_000);
});
