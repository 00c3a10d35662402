/**
 * How the lab talks to a guest: a shell script that serves commands on the second serial port, in the first kernel
 * and in the capture kernel alike.
 *
 * The first serial port is the kernel's console and is only logged. On the second one every answer carries its
 * length, and the guest's last word is `done`: what was cut short cannot look like success.
 *
 *     guest: hello ROLE RELEASE\n                    ROLE is `guest` or `capture`
 *     host:  ID COMMAND\n                            COMMAND is one line of shell
 *     guest: reply ID STATUS LENGTH\n and LENGTH bytes
 *     host:  finish\n
 *     guest: done ROLE\n, and it powers off
 */

/**
 * `/init` of both initramfs images: busybox, the kernel's file systems, then the agent.
 *
 * The agent is not PID 1 itself: if it ends, the loop starts it again and the kernel does not panic.
 */
export const INIT_SCRIPT = `#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /fill
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t securityfs security /sys/kernel/security
mount -t tmpfs tmp /tmp
dmesg -n 4
role=guest
[ -e /proc/vmcore ] && role=capture
cat > /agent <<'END'
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
echo "hello $1 $(uname -r)" >&3
while read -r id command <&3; do
  if [ "$id" = finish ]; then
    echo "done $1" >&3
    sleep 1
    poweroff -f
  fi
  (eval "$command") </dev/null >/tmp/reply 2>&1
  echo "reply $id $? $(wc -c </tmp/reply)" >&3
  cat /tmp/reply >&3
done
END
while :; do sh /agent $role; done
`;

/** Which kernel speaks. */
export type AgentRole = "guest" | "capture";

/** One message of the guest. */
export type AgentMessage =
  | { readonly kind: "hello"; readonly role: AgentRole; readonly release: string }
  | { readonly kind: "reply"; readonly id: number; readonly status: number; readonly output: Uint8Array }
  | { readonly kind: "done"; readonly role: AgentRole };

/** Bytes of one answer: the guest is ours, a serial port in a panic is not. */
const MAX_OUTPUT = 16 * 1024 * 1024;
const MAX_LINE = 512;
const NEWLINE = 0x0a;

function isRole(text: string | undefined): text is AgentRole {
  return text === "guest" || text === "capture";
}

/** Bytes on the agent's line that are no message of its protocol. */
export class AgentProtocolError extends Error {
  override readonly name = "AgentProtocolError";
}

/** Push parser of what the guest sends: `append` bytes as they come, `tryRead` until it has no whole message left. */
export class AgentParser {
  #bytes: Buffer = Buffer.alloc(0);

  append(bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
  }

  /**
   * The next whole message, or undefined until more bytes are there.
   *
   * @throws {AgentProtocolError} where a line is none of the protocol's.
   */
  tryRead(): AgentMessage | undefined {
    const end = this.#bytes.indexOf(NEWLINE);
    if (end === -1) {
      if (this.#bytes.length > MAX_LINE)
        throw new AgentProtocolError(
          `Read ${this.#bytes.length} bytes from the guest without a line in them`,
        );
      return undefined;
    }
    const line = this.#bytes.toString("latin1", 0, end);
    const hello = /^hello (\S+) (\S+)$/.exec(line);
    const done = /^done (\S+)$/.exec(line);
    const reply = /^reply (\d{1,9}) (\d{1,3}) (\d{1,9})$/.exec(line);
    if (hello && isRole(hello[1])) {
      this.#bytes = this.#bytes.subarray(end + 1);
      return { kind: "hello", role: hello[1], release: hello[2]! };
    }
    if (done && isRole(done[1])) {
      this.#bytes = this.#bytes.subarray(end + 1);
      return { kind: "done", role: done[1] };
    }
    const length = Number(reply?.[3]);
    if (!reply || length > MAX_OUTPUT) {
      throw new AgentProtocolError(
        `Read ${JSON.stringify(line.slice(0, 80))} from the guest, expected hello, reply or done`,
      );
    }
    if (this.#bytes.length < end + 1 + length) return undefined;
    const output = Uint8Array.prototype.slice.call(this.#bytes, end + 1, end + 1 + length);
    this.#bytes = this.#bytes.subarray(end + 1 + length);
    return { kind: "reply", id: Number(reply[1]), status: Number(reply[2]), output };
  }
}
