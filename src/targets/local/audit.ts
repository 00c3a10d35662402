/** Is what the capture kernel of this machine would be told true? */
import { encodeCoreHeader } from "../../elfcore/encode.ts";
import { equalBytes } from "../../image/bytes.ts";
import { readCoreHeader } from "../../image/core-header.ts";
import { CoreHeaderError } from "../../elfcore/error.ts";
import type { Sha256 } from "../../image/hash.ts";
import { followImagePointer } from "../../image/kernel.ts";
import { type CaptureImage, locateImage, type LocateHints } from "../../image/locate.ts";
import { MemoryAccessError } from "../../image/memory.ts";
import { type Audit, judge, type Verdict } from "../../keeper/audit.ts";
import { interruptible } from "../../keeper/interruptible.ts";
import { LayoutError } from "../../layout/error.ts";
import type { MachineLayout } from "../../layout/machine.ts";
import { formatBytes } from "../../layout/range.ts";
import { RangeSet } from "../../layout/range-set.ts";
import { LocalError } from "./error.ts";
import { type KdumpFacts, readKdumpFacts } from "./facts.ts";
import type { Extent, LocalMachine } from "./machine.ts";
import { sameLayout } from "./same-layout.ts";

/** An audit from inside. */
export interface LocalAudit extends Audit {
  /** Undefined where they could not be read; the reason says why. */
  readonly facts: KdumpFacts | undefined;
}

/** How a machine is looked at. */
export interface LocalAuditOptions {
  /** Ends it between two reads of memory, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Which memory a dump must have, of a kernel that says `facts` of itself; what is online unless told. */
  readonly extentOf?: (facts: KdumpFacts) => Extent;
}

/** Looks that may find that the machine changed meanwhile. A DIMM's blocks come online within a second or so. */
const MAX_LOOKS = 8;

/** What one look gave: a judgement, or in what the machine changed during it. */
type Judged = Audit | { readonly changed: string };

/**
 * Looks at `machine` from inside and judges.
 *
 * Nobody can stop the machine that they run in, so that memory may come and the kernel may write a new header while the old
 * one is read. A judgement counts only where layout, header and the pointer to the image are afterwards what they were
 * before; and that an image is broken, or cannot be understood, only where two looks say so.
 *
 * What cannot be known is the verdict `unknown`, and no error.
 *
 * @throws {ImageError} where `hints` name a header that is none.
 */
export async function auditLocal(
  machine: LocalMachine,
  sha256: Sha256,
  hints: LocateHints = {},
  { signal, extentOf = () => "online" }: LocalAuditOptions = {},
): Promise<LocalAudit> {
  let facts: KdumpFacts | undefined;
  let layout: MachineLayout | undefined;
  try {
    machine.checkSupported();
    facts = await readKdumpFacts(machine.tree);
    if (facts.crashLoaded === undefined) throw noKexec(machine);
    let changed = "";
    let doubt: Verdict | undefined;
    for (let look = 0; look < MAX_LOOKS; look++) {
      if (look > 0) facts = await readKdumpFacts(machine.tree);
      const extent = extentOf(facts);
      const mark = await machine.mark(extent);
      const seen = await layoutFor(machine, facts, extent);
      layout = seen.layout;
      const judged: Judged =
        facts.crashLoaded === true
          ? await lookAtImage(machine, sha256, hints, { layout, mark, extent }, signal)
          : await notLoaded(machine, facts, seen);
      if ("changed" in judged) {
        changed = judged.changed;
        continue;
      }
      const { verdict } = judged;
      if ((verdict !== "broken" && verdict !== "unknown") || verdict === doubt) return { ...judged, facts };
      doubt = verdict;
    }
    throw new LocalError(
      "changing",
      `${MAX_LOOKS} looks in a row did not hold (${changed}); ${machine.tree.isLive ? "audit again when that has ended" : "the files are not of the same moment, copy them again"}`,
    );
  } catch (error) {
    if (!isExplained(error)) throw error;
    return { ...judge({ found: "unknown", reason: error.message }, layout ?? NO_LAYOUT), facts };
  }
}

const NO_LAYOUT: MachineLayout = { backed: RangeSet.empty, devices: [], cpus: [], canGrow: undefined };

/** A layout, and what to say where it could not be read. */
interface SeenLayout {
  readonly layout: MachineLayout;
  readonly warnings: readonly string[];
}

/** Where nothing is loaded that is said also to those who may not see the layout. */
async function layoutFor(
  machine: LocalMachine,
  { crashLoaded }: KdumpFacts,
  extent: Extent,
): Promise<SeenLayout> {
  try {
    return { layout: await machine.layout(extent), warnings: [] };
  } catch (error) {
    if (crashLoaded === false && isExplained(error))
      return { layout: NO_LAYOUT, warnings: [`What the machine has could not be read: ${error.message}`] };
    throw error;
  }
}

/** What the machine had before its image was looked at. */
interface Before {
  readonly layout: MachineLayout;
  /** {@link LocalMachine.mark}, taken before the layout. */
  readonly mark: string | undefined;
  readonly extent: Extent;
}

/** A look at the image that the kernel says it has loaded. */
async function lookAtImage(
  machine: LocalMachine,
  sha256: Sha256,
  hints: LocateHints,
  before: Before,
  signal: AbortSignal | undefined,
): Promise<Judged> {
  try {
    return await judgeImage(machine, sha256, hints, before, signal);
  } catch (error) {
    // Memory that was there is gone.
    if (error instanceof MemoryAccessError && machine.tree.isLive) return { changed: error.message };
    throw error;
  }
}

async function judgeImage(
  machine: LocalMachine,
  sha256: Sha256,
  hints: LocateHints,
  { layout, mark, extent }: Before,
  signal: AbortSignal | undefined,
): Promise<Judged> {
  const { memory, tree } = machine;
  const kernel = await machine.kernel(layout);
  const location = await locateImage(interruptible(memory, signal), sha256, {
    ram: RangeSet.of(await memory.ranges()),
    crashMemory: layout.inside?.crashMemory,
    kernel,
    ...withoutUndefined(hints),
  });
  const isSame = mark !== undefined && mark === (await machine.mark(extent));
  const after = isSame ? layout : await machine.layout(extent);
  if (!isSame && !sameLayout(layout, after)) return { changed: "memory or CPUs came or went" };
  if ((await readKdumpFacts(tree)).crashLoaded !== true)
    return { changed: "the capture kernel was unloaded" };
  if (location.found === "nothing-loaded" || location.found === "no-crash-memory")
    return { changed: `${tree.shown("/sys/kernel/kexec_crash_loaded")} is 1, and no image was found` };
  if (location.found === "image" && !(await isUnchanged(machine, location.image)))
    return { changed: "the capture kernel, or its header, became another one" };
  return judge(location, after);
}

/** Whether the kernel still points to `image`, and its header still holds what was read. */
async function isUnchanged({ memory }: LocalMachine, image: CaptureImage): Promise<boolean> {
  const { kernel, kimage, headerAddress, header } = image;
  if (kernel?.imagePointerAddress !== undefined && kimage) {
    const now = await followImagePointer(memory, RangeSet.of(await memory.ranges()), kernel);
    if (now === undefined || now === "none" || now.address !== kimage.address) return false;
  }
  try {
    return equalBytes(
      encodeCoreHeader(await readCoreHeader(memory, headerAddress)),
      encodeCoreHeader(header),
    );
  } catch (error) {
    if (error instanceof CoreHeaderError) return false;
    throw error;
  }
}

async function notLoaded(
  machine: LocalMachine,
  facts: KdumpFacts,
  { layout, warnings }: SeenLayout,
): Promise<Judged> {
  // A load over a loaded image lets that go first.
  if ((await readKdumpFacts(machine.tree)).crashLoaded !== false)
    return { changed: "a capture kernel was loaded" };
  const nothing = judge({ found: "unknown", reason: "" }, layout);
  return { ...nothing, verdict: "not-loaded", reason: whyNotLoaded(facts), warnings };
}

function whyNotLoaded({ isCaptureKernel, crashSize, release }: KdumpFacts): string {
  if (isCaptureKernel)
    return "This is a capture kernel itself (it has /proc/vmcore): it saves the dump of a machine that has panicked, and has none loaded of its own";
  const kernel = `This kernel${release === undefined ? "" : ` (${release})`}`;
  if (crashSize === 0n)
    return `${kernel} has reserved no crash memory; boot it with crashkernel=256M and load a capture kernel`;
  const size = crashSize === undefined ? "" : ` (${formatBytes(crashSize)})`;
  return `Crash memory${size} is reserved, but no capture kernel is loaded at this moment; load one with kexec -p`;
}

function noKexec({ tree }: LocalMachine): LocalError {
  const path = tree.shown("/sys/kernel/kexec_crash_loaded");
  return new LocalError(
    "absent",
    tree.isLive
      ? `${path} does not exist: /sys is not mounted, or this kernel was built without kexec (CONFIG_KEXEC_CORE) and can have no capture kernel`
      : `${path} does not exist: copy /proc/iomem, /sys/kernel and /sys/devices/system/{cpu,memory} of the machine, as root`,
  );
}

function isExplained(error: unknown): error is Error {
  return error instanceof LocalError || error instanceof LayoutError || error instanceof MemoryAccessError;
}

/** Only what the caller knows, so that it does not take the place of what was found here. */
function withoutUndefined(hints: LocateHints): LocateHints {
  return Object.fromEntries(Object.entries(hints).filter(([, value]) => value !== undefined));
}
