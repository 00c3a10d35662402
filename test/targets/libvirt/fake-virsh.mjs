// What stands in for virsh in tests: hands its arguments and the lines of its interactive mode to the test's process
// (fake-libvirt.ts), and prints what that says. `process.argv` is that of the shim on PATH.
import { connect } from "node:net";

const socket = connect(process.env.FAKE_LIBVIRT_SOCKET);
const send = (message) => socket.write(`${JSON.stringify(message)}\n`);
// As virsh does where its reader has gone.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => process.exit(1));
send({ pid: process.pid, args: process.argv.slice(2) });
let text = "";
socket.on("data", (bytes) => {
  text += bytes.toString();
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
    const { stdout = "", stderr = "", bytes: raw = "", exit } = JSON.parse(text.slice(0, end));
    text = text.slice(end + 1);
    if (raw !== "") process.stdout.write(Buffer.from(raw, "base64"));
    if (stdout !== "") process.stdout.write(stdout);
    if (stderr !== "") process.stderr.write(stderr);
    if (exit !== undefined) process.exit(exit);
  }
});
socket.on("close", () => process.exit(1));
socket.on("error", () => process.exit(1));
let input = "";
process.stdin.on("data", (bytes) => {
  input += bytes.toString();
  for (let end = input.indexOf("\n"); end !== -1; end = input.indexOf("\n")) {
    send({ line: input.slice(0, end) });
    input = input.slice(end + 1);
  }
});
// Everything before has been sent: the test's process says when it has been done.
process.stdin.on("end", () => send({ end: true }));
