// Stands in for a QEMU of another user, as a keeper sees one: RAM in a shared file that only its user may open, and a
// socket in a directory of its own. Arguments: the built program's directory, the socket.
import { openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";

const [dist, path] = process.argv.slice(2);
const { call, loadSystemCalls } = await import(`${dist}/targets/local/system-calls.js`);
const RAM = 1 << 20;
const file = `/dev/shm/guest-${process.pid}`;
writeFileSync(file, new Uint8Array(RAM), { mode: 0o600 });
const fd = openSync(file, "r+");
const calls = await loadSystemCalls();
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
call(calls, "map the RAM", "mmap", 0, RAM, PROT_READ_WRITE, MAP_SHARED, fd, 0);
// What QEMU does on pmemsave: it makes a file where it is told to.
createServer((socket) => {
  socket.on("data", (bytes) => {
    writeFileSync(bytes.toString().trim(), "made by the guest", { mode: 0o600 });
    socket.end("done\n");
  });
}).listen(path);
