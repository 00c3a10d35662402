// Runs in place of the keeper under its unit: does what a keeper does to a guest, tries what it must not be able to do, and
// says what came of each. Arguments: the built program's directory, the guest's socket, where the result goes.
import { chmodSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { dirname, join } from "node:path";

const [dist, path, result] = process.argv.slice(2);
// A keeper has connections that keep it going.
setInterval(() => undefined, 1000);
const room = async (name) => await import(`${dist}/${name}.js`);
const { openServiceManager, startWatchdog } = await room("targets/systemd/service-manager");
const { loadSystemCalls } = await room("targets/local/system-calls");
const { descriptorLinks, findQemuProcesses, mappingsOf } = await room("targets/qemu/qemu-process");
const { KeeperLock } = await room("targets/qemu/keeper-lock");
const { makePrivateDir } = await room("targets/qemu/private-dir");
const { RamFile } = await room("targets/qemu/ram-file");
const { ServiceMetrics } = await room("keeper/metrics/service-metrics");
const { startMetricsServer } = await room("keeper/metrics/server");
const { TextfileWriter } = await room("keeper/metrics/textfile");

const outcomes = {};
async function attempt(what, work) {
  try {
    outcomes[what] = (await work()) ?? "done";
  } catch (error) {
    outcomes[what] = error.code ?? error.message;
  }
}

// Stands in for the process that lets guests go on whose keeper was killed in a pause: it needs a moment for that.
const helper = `
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => undefined);
  const file = "/var/lib/kdump-hotplug/helped";
  process.stdin.resume();
  process.stdin.on("close", () => setTimeout(() => require("fs").appendFileSync(file, "helped\\n"), 300));`;
spawn(process.execPath, ["--eval", helper], { stdio: ["pipe", "ignore", "ignore"], detached: true });

const manager = await openServiceManager();
outcomes["watchdog, ms"] = manager.watchdogEveryMs;
const status = Object.fromEntries(
  readFileSync("/proc/self/status", "utf8")
    .split("\n")
    .map((line) => line.split(":\t")),
);
for (const name of ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"]) outcomes[name] = status[name];

let guest;
await attempt("find the guest's process by its socket", async () => {
  for (let i = 0; guest === undefined && i < 10; i++) {
    [guest] = await findQemuProcesses(path);
    if (guest === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return guest.uid === process.getuid() ? "but it is of our own user" : undefined;
});
let ram;
await attempt("find the file behind its RAM", async () => {
  // In a mount namespace of our own /dev/shm is another mount than the guest's: the kernel leaves its path out.
  const mapping = (await mappingsOf(guest.pid)).find(({ path: file }) => /\/guest-\d+$/.test(file));
  const links = await descriptorLinks(guest.pid);
  ram = links.find(({ target }) => target === mapping.path).path;
});
await attempt("write to its RAM and read it back", async () => {
  const block = RamFile.open(ram, 0n);
  block.write(4096n, Uint8Array.of(1, 2, 3));
  const bytes = new Uint8Array(3);
  block.read(4096n, bytes);
  block.close();
  return bytes.join() === "1,2,3" ? undefined : bytes.join();
});
await attempt("lock out other keepers", async () => {
  const lock = await new KeeperLock([guest]).take();
  await lock[Symbol.asyncDispose]();
});
await attempt("have it make a file in a directory of ours, and take both away", async () => {
  const directory = await makePrivateDir(undefined, guest);
  outcomes["the directory"] = dirname(directory.path);
  const file = join(directory.path, "memory");
  const socket = connect(path);
  socket.resume();
  socket.write(`${file}\n`);
  await once(socket, "close", { signal: AbortSignal.timeout(10_000) });
  const text = readFileSync(file, "utf8");
  await directory.remove();
  return text === "made by the guest" ? undefined : text;
});
await attempt("serve metrics", async () => {
  const metrics = new ServiceMetrics({ version: "0" });
  const server = await startMetricsServer(
    { host: "127.0.0.1", port: 0 },
    { metrics, notAlive: () => undefined, notReady: () => undefined },
    () => undefined,
  );
  const answer = await fetch(server.url);
  await answer.text();
  await server[Symbol.asyncDispose]();
  const said = [];
  const file = "/var/lib/prometheus/node-exporter/kdump.prom";
  await new TextfileWriter({ file, metrics, say: (line) => said.push(line) })[Symbol.asyncDispose]();
  return said[0] ?? (readFileSync(file, "utf8").includes("build_info") ? undefined : "the file is empty");
});
await attempt("write its journal", () => writeFileSync("/var/lib/kdump-hotplug/journal", "{}\n"));
await attempt("make its control socket's directory its own", () => chmodSync("/run/kdump-hotplug", 0o700));

const calls = await loadSystemCalls();
const errno = (name, ...args) => {
  const { errno: number } = calls.invoke(name, ...args);
  return number === 0 ? undefined : `errno ${number}`;
};
await attempt("not: write to the system", () => writeFileSync("/usr/kdh", ""));
await attempt("not: write to /etc", () => writeFileSync("/etc/kdh", ""));
await attempt("not: write to home directories", () => mkdirSync("/root/kdh"));
await attempt("not: open the machine's memory", () => void openSync("/dev/mem", "r"));
await attempt("not: write kernel settings", () => writeFileSync("/proc/sys/kernel/panic", "0"));
await attempt("not: load a kernel", () => errno("kexec_load", 0, 0, 0, 0));
await attempt("not: open a netlink socket", () => errno("socket", 16, 3, 15));
await attempt("not: become another user", () => process.setuid(65534));
await attempt("not: signal the guest", () => void process.kill(guest.pid, "SIGTERM"));
await attempt("see the /tmp of others", () => readFileSync("/tmp/of-others", "utf8"));

writeFileSync(result, JSON.stringify(outcomes));
startWatchdog(
  manager,
  () => undefined,
  () => undefined,
);
process.on("SIGHUP", async () => {
  await manager.reloading();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await manager.ready("read again");
});
process.on("SIGUSR2", () => {
  for (;;);
});
process.on("SIGTERM", async () => {
  await manager.stopping("asked to");
  process.exit(130);
});
await manager.ready("up");
