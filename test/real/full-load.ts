/** What `keep local` is told to load in a lab guest, which has no distribution's configuration unless it is given one. */
import { dirname } from "node:path";
import type { AgentChannel } from "../../src/lab/channel.ts";
import { GUEST_CAPTURE_INITRAMFS, GUEST_VMLINUZ } from "../../src/lab/initramfs.ts";
import { quoted } from "../../src/lab/shell.ts";
import { DEBIAN_DEFAULTS } from "../../src/targets/local/capture-debian.ts";

const COMMAND_LINE = "console=ttyS0 nr_cpus=1 reset_devices irqpoll panic=5 acpi_no_memhotplug";

/** On the command line. */
export const FULL_LOAD: readonly string[] = Object.entries({
  "--kernel": GUEST_VMLINUZ,
  "--initrd": GUEST_CAPTURE_INITRAMFS,
  "--command-line": COMMAND_LINE,
}).flat();

/** As kdump-tools of Debian would have it, so that nothing need be said on the command line. */
export async function configureLikeDebian(agent: AgentChannel): Promise<void> {
  const text = `USE_KDUMP=1
KDUMP_KERNEL=${GUEST_VMLINUZ}
KDUMP_INITRD=${GUEST_CAPTURE_INITRAMFS}
KDUMP_CMDLINE="${COMMAND_LINE}"
KDUMP_CMDLINE_APPEND="nr_cpus=1"
`;
  const lines = text.trim().split("\n").map(quoted).join(" ");
  // Whoever is told to listen on loopback has one, and whoever keeps a journal has /var/log.
  await agent.output("ip link set lo up && mkdir -p /var/log");
  await agent.output(`mkdir -p ${dirname(DEBIAN_DEFAULTS)} && printf '%s\\n' ${lines} > ${DEBIAN_DEFAULTS}`);
}
