// Runs in place of the keeper under its unit: opens real QEMUs of another user as the keeper does, and changes their RAM.
// Arguments: the built program's directory, where the result goes, the QMP sockets.
import { writeFileSync } from "node:fs";

const [dist, result, ...sockets] = process.argv.slice(2);
const { QemuMachine } = await import(`${dist}/targets/qemu/machine.js`);
const { openServiceManager } = await import(`${dist}/targets/systemd/service-manager.js`);
const ADDRESS = 0x100000n;

const outcomes = {};
for (const socket of sockets) {
  try {
    const machine = await QemuMachine.open(socket, { alone: true });
    try {
      await machine.paused(async () => await machine.memory.write(ADDRESS, Uint8Array.of(1, 2, 3)));
      const bytes = await machine.memory.read(ADDRESS, 3);
      outcomes[socket] = `${machine.memory.access}: ${bytes.join()}`;
    } finally {
      await machine[Symbol.asyncDispose]();
    }
  } catch (error) {
    outcomes[socket] = String(error.message);
  }
}
writeFileSync(result, JSON.stringify(outcomes));
await (await openServiceManager()).ready("done");
setInterval(() => undefined, 1000);
