/** What users write for a machine: `qmp:PATH`, `libvirt:DOMAIN`, `local`, `sim:SPEC`. */
import { SimulationError } from "../simulation/error.ts";
import { type MachineSpec, parseSpec, SPEC_FORM } from "../simulation/spec.ts";

/** A machine, as named on the command line. */
export type Target =
  | { readonly kind: "qmp"; readonly path: string }
  /** A domain's name or UUID, at the libvirt that virsh takes. */
  | { readonly kind: "libvirt"; readonly domain: string }
  /** Every domain that runs there. */
  | { readonly kind: "libvirt-all" }
  | { readonly kind: "local" }
  | { readonly kind: "sim"; readonly text: string; readonly spec: MachineSpec };

/** Raised for a TARGET that cannot be understood or is not supported. Exit code 2. */
export class TargetError extends Error {
  override readonly name = "TargetError";
}

/** What TARGET can be, for help texts. */
export const TARGET_HELP =
  "qmp:PATH of a running QEMU guest, libvirt:DOMAIN, or sim:SPEC, a simulated machine such as sim:6.1";

/** The machine that we run in. */
export const LOCAL = "local";

/** What TARGET can be where one may also look at the machine that one is in. */
export const LOOK_TARGET_HELP: string = `${TARGET_HELP}, or local, the machine that this runs in`;

/** Reads `text` as a TARGET. @throws {TargetError} which says what can be given instead. */
export function parseTarget(text: string): Target {
  if (text === LOCAL) return { kind: LOCAL };
  const match = /^([a-z]+):(.*)$/s.exec(text);
  const [, kind, rest = ""] = match ?? [];
  if (kind === "qmp" && rest.length > 0) return { kind, path: rest };
  if (kind === "libvirt" && rest === "*") return { kind: "libvirt-all" };
  // libvirt has no names with a slash or a newline (virDomainDefPostParseCheckName); virsh would take "-" for an option.
  if (kind === "libvirt" && /^[^-/\p{Cc}][^/\p{Cc}]*$/u.test(rest)) return { kind, domain: rest };
  if (kind === "sim") return { kind, text, spec: readSpec(rest) };
  // The mistakes of the first minutes: a socket's path as it is, and a file, which only inspect looks at.
  const hint = /^\.{0,2}\//.test(text) ? `: a QMP socket is qmp:${text}, a file is for inspect;` : ":";
  throw new TargetError(
    `Cannot use ${JSON.stringify(text)} as a target${hint} expected qmp:PATH, where PATH is the QMP socket of a running QEMU guest (its -qmp unix:PATH,server=on,wait=off), libvirt:DOMAIN, where DOMAIN is the name or UUID of a guest of libvirt's, local for this machine itself, or sim:SPEC, where SPEC describes a simulated machine, such as 6.1 or 6.12,dimm=1G`,
  );
}

/** Whether `text` names a simulated machine, which every report must say. */
export function isSimulated(text: string): boolean {
  return text.startsWith("sim:");
}

function readSpec(text: string): MachineSpec {
  try {
    return parseSpec(text);
  } catch (error) {
    if (!(error instanceof SimulationError)) throw error;
    throw new TargetError(`${error.message}; a description is ${SPEC_FORM}`, { cause: error });
  }
}
