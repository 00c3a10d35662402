/** What man pages say that the command tree does not know: what is behind the words, and where things lie. */
import { SPEC_FORM } from "../../simulation/spec.ts";

/** A term and what it means. */
export type Entry = readonly [term: string, meaning: string];

/** Of the program's own page. */
export const DESCRIPTION: readonly string[] = [
  "A kernel that panics is dumped by a second kernel, the capture kernel, which was loaded beforehand and knows the machine only from a small ELF header made at that moment. Memory and CPUs that come later are not in the dump, and what has gone is described as if it were there.",
  "This program compares that header with what the machine has, and rewrites it in place: without a reload, without an agent in the guest, and without a moment in which there is no capture kernel. Every write is preceded by a check that the bytes are what they are believed to be, and followed by one that the image would still pass its own digest.",
  "The capture kernel's command line needs acpi_no_memhotplug, or it takes hot-added memory for itself; audit says so where it is missing.",
];

/** What TARGET can be. */
export const TARGETS: readonly Entry[] = [
  ["qmp:PATH", "a running QEMU guest by its QMP socket; start QEMU with -qmp unix:PATH,server=on,wait=off."],
  ["libvirt:DOMAIN", "a guest of libvirt's, by name or UUID, at the libvirt that virsh(1) takes."],
  ["local", "the machine that the program runs in; needs root."],
  ["sim:SPEC", `a simulated machine made of bytes; nothing real is touched. SPEC is ${SPEC_FORM}.`],
];

export const ENVIRONMENT: readonly Entry[] = [
  [
    "KDUMP_HOTPLUG_RUNTIME_DIR",
    "where keepers have their control sockets, in place of the directories below.",
  ],
  ["XDG_RUNTIME_DIR", "for who is not root: control sockets are in its directory kdump-hotplug."],
  [
    "XDG_CACHE_HOME",
    "the lab's kernels and programs are in its directory kdump-hotplug (default: ~/.cache).",
  ],
  ["LIBVIRT_DEFAULT_URI", "which libvirt libvirt:DOMAIN is at; see virsh(1)."],
  ["TMPDIR", "where temporary files are."],
];

export const FILES: readonly Entry[] = [
  ["/etc/kdump-hotplug/keep.json", "the service's configuration, where the package's unit looks for it."],
  ["/run/kdump-hotplug", "control sockets of root's keepers."],
  ["/var/log/kdump-hotplug", "where journal looks for what keep --journal wrote."],
];

/** Examples of each page, by the command's path. They are command lines as typed. */
export const EXAMPLES: ReadonlyMap<string, readonly Entry[]> = new Map([
  [
    "",
    [
      ["kdump-hotplug audit sim:6.1,dimm=1G", "a simulated machine to which memory came after the load."],
      ["kdump-hotplug audit qmp:/run/guest.sock", "is a guest's header true?"],
      ["kdump-hotplug keep qmp:/run/guest.sock", "make it true, and keep it true until Ctrl-C."],
    ],
  ],
  ["inspect", [["kdump-hotplug inspect sim:6.12", "every program header of a simulated machine's image."]]],
  [
    "audit",
    [
      ["kdump-hotplug audit --json sim:6.1,dimm=1G", "the same as one JSON document."],
      ["kdump-hotplug audit --nagios qmp:/run/guest.sock", "one line for a monitoring system."],
    ],
  ],
  [
    "keep",
    [
      ["kdump-hotplug keep --once sim:6.1,dimm=1G", "look once, install the difference, and end."],
      ["kdump-hotplug keep 'qmp:/run/guests/*.sock'", "a service for guests that come and go."],
      ["kdump-hotplug keep local --dry-run", "what would be done on this machine."],
    ],
  ],
  ["journal", [["kdump-hotplug journal --at 2026-11-29T05:10:00Z", "was the header accurate at that time?"]]],
  ["load", [["kdump-hotplug load local", "load the capture kernel with room for later changes."]]],
  ["plug", [["kdump-hotplug plug sim:6.1 --memory 1G --count 2", "two DIMMs, each described first."]]],
  ["unplug", [["kdump-hotplug unplug sim:6.1,dimm=1G dimm0", "remove a DIMM, and correct the header."]]],
  ["lab run", [["kdump-hotplug lab run --kernel 6.12 --dimms 4", "the whole proof on Linux 6.12."]]],
  [
    "lab campaign",
    [["kdump-hotplug lab campaign --trials 100 --out results.jsonl", "200 panics, two ways."]],
  ],
  ["simulate", [["kdump-hotplug simulate dimm-1g --timeline", "blind, stale and accurate over time."]]],
  [
    "rules explain",
    [["kdump-hotplug rules explain --event online:memory40", "what udev does when a block comes online."]],
  ],
  ["rules check", [["kdump-hotplug rules check --root /mnt", "what is wrong in another system's rules."]]],
  ["completion", [["kdump-hotplug completion bash", "the script for bash, on standard output."]]],
]);
