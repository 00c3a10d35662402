/** What is said of the fields of documents; that they exist is checked against documents that were printed. */

/** One kind of document. */
export interface DocumentWords {
  /** By the command that prints it. */
  readonly name: string;
  readonly words: string;
  /** Paths of objects whose keys are names of things. */
  readonly maps?: readonly string[];
  /** Paths at which another kind of document stands. */
  readonly documents?: Readonly<Record<string, string>>;
  /** First names of fields that are those of a document that `words` names. */
  readonly same?: readonly string[];
}

const AUDIT_FIELDS = [
  "schemaVersion",
  "target",
  "simulated",
  "verdict",
  "reason",
  "image",
  "memory",
  "cpus",
  "warnings",
];

/** In the order of the page. */
export const DOCUMENTS: readonly DocumentWords[] = [
  { name: "audit", words: "`audit TARGET --json`: is what the capture kernel would be told true?" },
  {
    name: "audit local",
    words:
      "`audit local --json`, and with `--policy` what the installed rules, service and kernel would do on the next event (`policy`). The fields of [audit](#audit), and:",
    same: AUDIT_FIELDS,
  },
  { name: "audit --all", words: "`audit --all --json`.", documents: { "targets[]": "audit" } },
  { name: "inspect TARGET", words: "`inspect qmp:PATH --json` and of every other TARGET." },
  { name: "inspect FILE", words: "`inspect FILE --json`." },
  {
    name: "keep --once",
    words: "`keep --once TARGET --json`. The fields of [audit](#audit), of the state afterwards, and:",
    documents: { before: "audit" },
    same: AUDIT_FIELDS,
  },
  {
    name: "keep",
    words: "One line of `keep TARGET... --json`: what happened, as it happens.",
    documents: { audit: "audit", before: "audit" },
  },
  {
    name: "keep local --once",
    words: "`keep local --once --json`. The fields of [audit](#audit), of the state afterwards, and:",
    documents: { before: "audit" },
    same: AUDIT_FIELDS,
  },
  {
    name: "keep local --dry-run",
    words: "`keep local --dry-run --json`. The fields of [audit](#audit), and what would be done:",
    same: AUDIT_FIELDS,
  },
  { name: "keep local --install", words: "`keep local --install --json` and `--uninstall`." },
  {
    name: "load",
    words: "`load local --json`. The fields of [audit](#audit), of the state afterwards, and:",
    same: AUDIT_FIELDS,
  },
  { name: "plug", words: "`plug TARGET --json`.", documents: { after: "audit" } },
  { name: "unplug", words: "`unplug TARGET DEVICE... --json`.", documents: { after: "audit" } },
  { name: "journal --at", words: "`journal --at TIME --json`." },
  {
    name: "simulate",
    words: "`simulate SCENARIO --json`. All of it is a simulation.",
    maps: ["costs"],
  },
  { name: "simulate rfc", words: "`simulate rfc --json`. All of it is a simulation." },
  { name: "simulate --sweep", words: "`simulate --sweep N --json`. All of it is a simulation." },
  { name: "rules explain", words: "`rules explain --json`.", maps: ["properties"] },
  { name: "rules check", words: "`rules check --json`." },
  {
    name: "lab run",
    words: "`lab run --json`: what a real guest's dump had, without us and with us.",
    documents: { "runs[].keeper.before": "audit", "runs[].keeper.after": "audit" },
  },
  { name: "lab run --policy", words: "`lab run --policy NAME --json`: what a way costs in real guests." },
  { name: "lab campaign", words: "`lab campaign --json`." },
  {
    name: "lab campaign --out",
    words: "One line of a results file: the first says what was run, each other one is a trial.",
  },
  { name: "lab matrix", words: "`lab matrix --json`." },
];

const RANGE_WORDS = "first address";
/** Of fields that mean the same wherever they stand; a last name alone begins with a dot. */
export const SHARED: ReadonlyMap<string, string> = new Map([
  ["schemaVersion", "1"],
  ["target", "as it was given"],
  ["simulated", "there, and true, only of a simulation"],
  [".start", RANGE_WORDS],
  [".end", "first address behind it"],
  [".bytes", "size"],
  [".path", "the file"],
  [".line", "in the file, from 1 on; 0 where it is about the whole file"],
  [
    ".pauseMicroseconds",
    "for how long the guest stood still, by QEMU's clock; null where that was not measured",
  ],
  [
    ".reactionMs",
    "from the change being told of until the header was right; null where nothing told of a change",
  ],
  ["before", "the state before"],
  ["after", "the state afterwards; null where nobody could look"],
  ["reason", "one sentence"],
]);

/** By document and path. */
export const WORDS: ReadonlyMap<string, string> = new Map([
  ["audit verdict", "`accurate`, `inaccurate`, `not-loaded`, `broken` or `unknown`"],
  ["audit reason", "one sentence: what was found and, where something is wrong, what to do"],
  ["audit image", "the loaded capture image; null where none was found"],
  ["audit image.state", "`loaded`, or `unconfirmed` where the kernel's pointer to it was not found"],
  ["audit image.kernel", "release of the kernel that runs"],
  ["audit image.crashMemory", "what `crashkernel=` has reserved"],
  ["audit image.headerAddress", "where the core header lies"],
  ["audit image.headerCapacity", "bytes that it may take there"],
  ["audit image.headerMoved", "whether it outgrew its segment and was moved"],
  ["audit image.programHeaders", "how many it has"],
  [
    "audit image.digest",
    "`covers-header`, `excludes-header`, `mismatch` (a panic would hang) or `not-found`",
  ],
  ["audit image.commandLine", "the capture kernel's"],
  ["audit memory.missing", "online, and not in the header"],
  ["audit memory.stale", "in the header, and gone"],
  ["audit memory.devices", "DIMMs and virtio-mem devices, as far as the target tells"],
  ["audit memory.devices[].name", "what `unplug` takes; null where it has none"],
  ["audit memory.devices[].kind", "`dimm`, `virtio-mem` or `other`"],
  ["audit cpus.present", "CPUs that are there"],
  ["audit cpus.described", "notes in the header"],
  [
    "audit cpus.missing",
    "CPUs without a note; from outside the hot-added ones, of which `present - described` have none",
  ],
  ["audit cpus.possible", "CPUs that the kernel may ever have"],
  ["audit cpus.undescribed", "possible CPUs of which the header has no note"],
  ["audit cpus.undescribed[].cpu", "the kernel's number of it"],
  ["audit cpus.undescribed[].note", "where its note lies"],
  ["audit cpus.unknown", "why the notes of CPUs that the header lacks are not known"],
  ["audit warnings", "what would spoil the dump although the header is true"],
  ["audit local kdump", "what the kernel says of kdump; null where it has no kexec"],
  ["audit local kdump.crashLoaded", "`/sys/kernel/kexec_crash_loaded`"],
  ["audit local kdump.crashBytes", "`/sys/kernel/kexec_crash_size`"],
  [
    "audit local kdump.crashHotplug.memory",
    "whether the kernel says that it keeps the header itself; null where it has no `crash_hotplug`",
  ],
  ["audit local kdump.crashHotplug.cpu", "the same of CPUs"],
  ["audit local kdump.elfcorehdrBytes", "`/sys/kernel/crash_elfcorehdr_size`"],
  ["audit local kdump.kexecLoadDisabled", "`kernel.kexec_load_disabled`"],
  ["audit local kdump.kexecLoadsLeft", "`kernel.kexec_load_limit_panic`; -1: no limit"],
  ["audit local kdump.lockdown", "`none`, `integrity` or `confidentiality`"],
  ["audit local kdump.captureKernel", "whether this is a capture kernel itself"],
  ["audit local kdump.repair.permitted", "whether a header could be installed from inside"],
  ["audit local kdump.repair.reason", "what forbids it"],
  ["audit local policy", "with `--policy` only; or `unknown` with a sentence"],
  ["audit local policy.events", "each event of a memory block and a CPU, and what would be done"],
  ["audit local policy.changes", "what a panic would find when memory or a CPU comes or goes"],
  ["audit local policy.lastLoad", "the last reload that a log tells of"],
  ["audit local policy.notes", "what a reader should know beside"],
  ["audit --all targets", "one for each target"],
  ["inspect TARGET reason", "why there is no image; null where there is one"],
  ["inspect TARGET image", "as in [audit](#audit), with `headers`"],
  ["inspect TARGET image.headers", "every program header, with the kernel's names of its fields"],
  [
    "inspect TARGET image.headers[].kind",
    "`cpu-note`, `vmcoreinfo-note`, `kernel-text`, `ram`, `backup` or `unknown`",
  ],
  ["inspect FILE file", "its path"],
  ["inspect FILE kind", "`core-header`, `vmcore` or `crash-memory`"],
  [
    "inspect FILE headers[].kind",
    "`cpu-note`, `vmcoreinfo-note`, `kernel-text`, `ram`, `backup` or `unknown`",
  ],
  ["inspect FILE crashMemory", "of a copy of crash memory: where it was"],
  ["keep --once installed", "null where there was nothing to do"],
  [
    "keep --once installed.writes[].what",
    "`header`, `digest`, `region-table`, `memory-map` or `command-line`",
  ],
  ["keep at", "when, ISO 8601"],
  ["keep event", "`found`, `unreachable`, `gone`, `resumed`, `verdict`, `installed` or `failed`"],
  ["keep audit", "of a `verdict`"],
  ["keep error", "of a `failed`: one sentence"],
  ["keep reason", "of `unreachable`, `gone` and `resumed`"],
  ["keep local --once installed.way", "`re-arm` or `full-load`"],
  ["keep local --once installed.callMs", "for how long the system call took, in which nothing was loaded"],
  ["keep local --once installed.leftByKernel", "whether the kernel keeps the header itself, and had not"],
  ["keep local --dry-run would.step", "`nothing`, `leave-to-kernel`, `re-arm` or `full-load`"],
  ["keep local --dry-run would.leftBytes", "what stays where it is"],
  ["keep local --install overrides", "files that were written"],
  ["keep local --install overrides[].of", "the distribution's file that is no longer read"],
  ["keep local --install overrides[].lines", "its lines that reload kdump"],
  ["keep local --install removed", "files that `--uninstall` took away"],
  ["plug plugged", "what is there, also where a later one failed"],
  ["plug plugged[].kind", "`dimm` or `cpu`"],
  ["plug plugged[].described", "whether the header was written"],
  ["unplug devices[].outcome", "`removed`, `refused` or `pending` (it may still go)"],
  ["unplug devices[].reason", "why it is still there; empty where it is gone"],
  ["unplug devices[].staleMicroseconds", "for how long the header described it after it was gone"],
  [
    "unplug devices[].backend",
    "`deleted`, or `left` where QEMU kept the memory backend; null where there was none, or nothing went",
  ],
  ["journal --at targets[].answer", "`accurate`, `inaccurate` or `unknown`"],
  ["journal --at targets[].moments", "how many moments of the past the clock's time may mean"],
  ["journal --at unreadableLines", "lines that are no entries"],
  ["simulate costs.NAME.value", "ms unless `simulate --help` says otherwise"],
  ["simulate costs.NAME.origin", "`measured`, `documented`, `calibrated`, `assumed`, or `given`"],
  ["simulate windowSeconds", "over which the odds are taken"],
  ["simulate policies[].odds.noDump", "share of the window in which a panic gives no dump"],
  ["rules explain kdump", "what it comes to for kdump"],
  ["rules explain lines[].result", "`matched`, `not-matched`, `jumped-over`, `not-applicable` or `label`"],
  ["rules check findings[].id", "one of those in [guide-distributions.md](../guide-distributions.md)"],
  ["rules check crashHotplug", "`0`, `1` or `absent`; null: any kernel"],
  ["lab run runs[].outcome", "`complete`, `incomplete` or `no-dump`"],
  ["lab run runs[].keeper", "null where nobody kept the header"],
  ["lab run --policy runs[].plugs", "each DIMM; times in ms from the first plug on"],
  ["lab run --policy runs[].plugs[].added", "when the guest said that it had it"],
  ["lab run --policy runs[].dimms", "which memory blocks each DIMM is, by the kernel's numbers of them"],
  ["lab run --policy runs[].onlineAt", "when each added block was online"],
  ["lab run --policy runs[].onlineBlocks", "which blocks those were, in the same order"],
  [
    "lab run --policy runs[].headers",
    "whenever the loaded image's header was seen to describe other blocks than before",
  ],
  ["lab run --policy runs[].headers[].described", "the added blocks that it describes"],
  ["lab campaign --out moment", "`before`, `reaction`, `during` or `after` the change"],
  ["lab campaign --out cause", "of a missing dump: `not-loaded`, `lock-held` or `unknown`"],
  ["lab campaign --out repeat", "the command that runs it again"],
  ["lab campaign rows[].notComplete95", "Wilson's 95 % interval"],
]);
