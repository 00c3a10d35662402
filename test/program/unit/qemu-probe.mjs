// Runs in place of the keeper under its unit: opens real QEMUs of another user as the keeper does, and changes their RAM.
// Arguments: the built program's directory, where the result goes, the QMP sockets.
import { writeFileSync } from "node:fs";

const [dist, result, ...sockets] = process.argv.slice(2);
const { QemuMachine } = await import(`${dist}/targets/qemu/machine.js`);
const { openServiceManager } = await import(`${dist}/targets/systemd/service-manager.js`);
const ADDRESS = 0x100000n;

const outcomes = {};
/** Opens it in the way that there is, and by QEMU's gdbstub alone. */
for (const [socket, access] of sockets.flatMap((path) => ["auto", "gdb"].map((way) => [path, way]))) {
  const name = `${socket} ${access}`;
  try {
    const machine = await QemuMachine.open(socket, { alone: true, access });
    try {
      await machine.paused(async () => await machine.memory.write(ADDRESS, Uint8Array.of(1, 2, 3)));
      const bytes = await machine.memory.read(ADDRESS, 3);
      outcomes[name] = `${machine.memory.access}: ${bytes.join()}`;
    } finally {
      await machine[Symbol.asyncDispose]();
    }
  } catch (error) {
    outcomes[name] = String(error.message);
  }
}
writeFileSync(result, JSON.stringify(outcomes));
await (await openServiceManager()).ready("done");
setInterval(() => undefined, 1000);
