/** What stands between us and a guest of libvirt's, from virsh's words. */
import { QmpCommandError, QmpError } from "../qemu/qmp-errors.ts";

/**
 * `no-virsh` the program is missing; `away` no libvirt answers; `denied` it does not let us in; `silent` it accepts and
 * says nothing; `remote` it is on another host; `not-qemu` its guests are not QEMU's; `absent` it has no such domain;
 * `not-running` it has, and that one does not run.
 */
export type LibvirtErrorKind =
  "no-virsh" | "away" | "denied" | "silent" | "remote" | "not-qemu" | "absent" | "not-running";

/** Raised where no session to a domain came about, or its domains cannot be listed. Nothing was changed. */
export class LibvirtError extends QmpError {
  override readonly name = "LibvirtError";
  readonly kind: LibvirtErrorKind;

  constructor(kind: LibvirtErrorKind, sentence: string, options?: ErrorOptions) {
    super(sentence, options);
    this.kind = kind;
  }
}

/** Raised when libvirt itself, not QEMU, answered a command with an error: it had no effect that libvirt admits to. */
export class LibvirtCommandError extends QmpCommandError {
  override readonly name = "LibvirtCommandError";

  /** @param command in QMP's words. @param words libvirt's own. */
  constructor(command: string, words: string) {
    super(command, "libvirt", words);
    this.message = `libvirt refused "${command}": ${words}`;
  }
}

/** virsh answered a command with an error; `message` is what it printed, in one line. */
export class VirshRefusal extends Error {
  override readonly name = "VirshRefusal";
}

/** virsh ended, could not be started, or said what it never says. */
export class VirshEndedError extends Error {
  override readonly name = "VirshEndedError";
  /** Whether there is no such program. */
  readonly missing: boolean;

  constructor(sentence: string, missing: boolean) {
    super(sentence);
    this.missing = missing;
  }
}

/**
 * What virsh's words mean. libvirt gives its clients no codes through virsh; these are its messages in English (we ask
 * for that language). What is not known here is told as it is. Where libvirt has gone, a domain is not found either: that comes
 * first.
 */
const MEANINGS: readonly (readonly [RegExp, LibvirtErrorKind])[] = [
  [/domain is not running|domain is not active/i, "not-running"],
  [
    /authentication (unavailable|failed|cancelled)|access denied|permission denied|operation not permitted|read[- ]only access/i,
    "denied",
  ],
  [
    /failed to connect|cannot connect|unable to connect|connection refused|connection reset|no such file or directory|disconnected from|end of file while reading|cannot (recv|write) data|broken pipe|client socket is closed|keepalive timeout|connection .*(closed|lost)/i,
    "away",
  ],
  [/domain not found|no domain with matching|failed to get domain/i, "absent"],
  [/not supported by the connection driver|no connection driver available/i, "not-qemu"],
];

/** The kind of failure that virsh's words tell of; undefined where they tell of something else. */
export function meaningOf(words: string): LibvirtErrorKind | undefined {
  return MEANINGS.find(([pattern]) => pattern.test(words))?.[1];
}

/** The error for what kept us from `domain` (undefined: from libvirt at all), in one sentence with what to do. */
export function libvirtError(
  kind: LibvirtErrorKind,
  domain: string | undefined,
  words: string,
): LibvirtError {
  const name = JSON.stringify(domain ?? "");
  const said = words === "" ? "" : ` (virsh says: ${words})`;
  const sentences: Readonly<Record<LibvirtErrorKind, string>> = {
    "no-virsh":
      "There is no virsh in PATH: install libvirt's clients (Debian: libvirt-clients), or give qmp:PATH of the guest",
    away: `No libvirt answers${said}: start libvirtd or virtqemud, or set LIBVIRT_DEFAULT_URI to qemu:///system or qemu:///session`,
    denied: `libvirt does not let this user in${said}: run as root, or as a user that may manage its guests`,
    silent: `libvirt accepts the connection and does not answer${said}: look at its log`,
    remote: `libvirt is on another host${said}: a guest's memory is reached only on its own host; run this there`,
    "not-qemu": `These guests are not QEMU's${said}: set LIBVIRT_DEFAULT_URI to qemu:///system or qemu:///session`,
    absent: `libvirt has no domain ${name}${said}: "virsh list --all" lists them; set LIBVIRT_DEFAULT_URI where it is another libvirt's`,
    "not-running": `Domain ${name} does not run${said}: start it first`,
  };
  return new LibvirtError(kind, sentences[kind]);
}

/** Whether virsh's words say that the domain has ended. */
export function isGone(words: string): boolean {
  const meaning = meaningOf(words);
  return meaning === "not-running" || meaning === "absent";
}
