/** Everything that a lab guest is made of: given by hand, in the cache, or fetched. */
import { resolve } from "node:path";
import { busyboxFromEntry, BUSYBOX_ENTRY, checkStatic, fetchBusybox } from "./busybox.ts";
import { cacheTrouble, openCache, type CacheEntry } from "./cache.ts";
import { readInterpreter } from "./elf.ts";
import { FetchError, SupplyError, type MissingSupply } from "./errors.ts";
import {
  fetchKernel,
  givenKernel,
  isKernelSeries,
  KERNEL_SERIES,
  kernelEntryName,
  kernelFromEntry,
  type KernelSeries,
  type KernelSupply,
} from "./kernel.ts";
import { fetchKexec, givenKexec, KEXEC_ENTRY, kexecFromEntry, type KexecSupply } from "./kexec.ts";
import { type LibvirtSupply, supplyLibvirt } from "./libvirt.ts";
import { findProgram, thisMachine, type Machine } from "./machine.ts";
import { installedNode, type NodeSupply } from "./node.ts";
import { probeQemu, type QemuSupply } from "./qemu.ts";
import { supplyQemu } from "./qemu-supply.ts";
import { RunError } from "./run.ts";
import { readOwnSources } from "./suites.ts";
import { fetchTools, TOOLS_ENTRY, toolsFromEntry, type ToolsSupply } from "./tools.ts";
import {
  fetchUdev,
  UDEV_SUITES,
  udevEntryName,
  udevFromEntry,
  type UdevSuite,
  type UdevSupply,
} from "./udev.ts";
import { Workshop, type FetchContext } from "./workshop.ts";

/** What a lab guest is made of. All paths are absolute and exist. */
export interface LabSupplies {
  readonly kernel: KernelSupply;
  readonly qemu: QemuSupply;
  /** A static busybox. */
  readonly busybox: string;
  readonly kexec: KexecSupply;
  /** Only where it was asked for. */
  readonly udev: UdevSupply | undefined;
  /** Only where they were asked for. */
  readonly tools: ToolsSupply | undefined;
  /** Only where it was asked for. */
  readonly node: NodeSupply | undefined;
  /** Only where it was asked for. */
  readonly libvirt: LibvirtSupply | undefined;
}

/** What `lab fetch` leaves in the cache. */
export interface FetchedSupplies {
  readonly qemu: QemuSupply;
  /** Oldest series first. */
  readonly kernels: readonly KernelSupply[];
  readonly busybox: string;
  readonly kexec: KexecSupply;
  /** Oldest suite first. */
  readonly udevs: readonly UdevSupply[];
  readonly tools: ToolsSupply;
  readonly libvirt: LibvirtSupply;
}

/** Where talk goes, and how it is interrupted. */
export interface FetchOptions {
  /** Gets one line at a time, without its newline. */
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Told what is looked for next, and how many of how many are there; of {@link fetchAll} only. */
  readonly step?: ((what: string, done: number, total: number) => void) | undefined;
}

/** What the user gives by hand, and what is wanted of the rest. */
export interface SupplyOptions extends FetchOptions {
  /** A series that the lab knows, or the path of a kernel image. Default `6.1`. */
  readonly kernel?: KernelSeries | (string & {}) | undefined;
  /** Paths; absent: from the cache, the machine or its archive. */
  readonly qemu?: string | undefined;
  readonly busybox?: string | undefined;
  readonly kexec?: string | undefined;
  /** The suite whose udev the guest gets. Default: the guest has none. */
  readonly udev?: UdevSuite | undefined;
  /** Whether outside tools are wanted, to judge dumps with: the capture kernel gets makedumpfile. Default false. */
  readonly tools?: boolean | undefined;
  /** Whether the guest is to have the Node that runs here, and our own built program. Default false. */
  readonly node?: boolean | undefined;
  /** Whether guests are to be libvirt's. Default false. */
  readonly libvirt?: boolean | undefined;
  /** Whether QEMU and libvirt may be installed on this machine, given root. Default true. */
  readonly install?: boolean | undefined;
}

/**
 * Supplies one lab guest: what was given by hand, else what the cache has, else what the machine's own archive has.
 *
 * Downloads nothing and does not run apt where the cache has everything and QEMU is recent.
 *
 * @throws {SupplyError} once, with everything that is missing.
 * @throws {FetchError} where the cache directory cannot be made, not be written, or is full.
 * @throws the signal's reason where it aborted; nothing half-made is left.
 */
export async function supply(options: SupplyOptions, machine: Machine = thisMachine()): Promise<LabSupplies> {
  return inCache(machine, async () => await supplyGuest(options, machine));
}

async function supplyGuest(options: SupplyOptions, machine: Machine): Promise<LabSupplies> {
  await using session = await openSession(options, machine);
  const { context } = session;
  const { signal } = context;
  const kernel = options.kernel ?? "6.1";
  const [qemuPath, busyboxPath, kexecPath] = [options.qemu, options.busybox, options.kexec].map((path) =>
    path === undefined ? undefined : resolve(path),
  );

  // QEMU first: where it cannot be installed, that is known before anything is downloaded.
  const qemu =
    qemuPath === undefined
      ? await session.qemu(options.install ?? true)
      : await session.get("qemu", "--qemu FILE", () => probeQemu(context, qemuPath));
  const kernelSupply = isKernelSeries(kernel)
    ? await session.kernel(kernel)
    : await session.get("kernel", `--kernel FILE, or ${KERNEL_SERIES.join(", ")}`, () =>
        givenKernel(resolve(kernel)),
      );
  const busybox =
    busyboxPath === undefined
      ? await session.busybox()
      : await session.get("busybox", "--busybox FILE", async () => {
          await checkStatic(busyboxPath);
          return busyboxPath;
        });
  const kexec =
    kexecPath === undefined
      ? await session.kexec()
      : await session.get("kexec", "--kexec FILE", () => givenKexec(machine, kexecPath, signal));
  const udev = options.udev === undefined ? undefined : await session.udev(options.udev);
  const tools = options.tools === true ? await session.tools() : undefined;
  const node =
    options.node === true
      ? await session.get("Node for guests", undefined, () => installedNode(machine, { signal }))
      : undefined;
  const libvirt = options.libvirt === true ? await session.libvirt(options.install ?? true) : undefined;
  await session.launcher();
  if (
    qemu === undefined ||
    kernelSupply === undefined ||
    busybox === undefined ||
    kexec === undefined ||
    session.missing.length > 0
  ) {
    throw new SupplyError(session.missing);
  }
  options.log(
    `QEMU ${qemu.version} (${qemu.path}), kernel ${kernelSupply.release}, kexec-tools ${kexec.version}`,
  );
  return { qemu, kernel: kernelSupply, busybox, kexec, udev, tools, node, libvirt };
}

/**
 * Gets everything that the lab needs: QEMU and libvirt, and into the cache all three kernels, busybox, kexec, each suite's udev and
 * the tools that read dumps. What is there and whole is not fetched again.
 *
 * @throws {SupplyError} once, with everything that could not be fetched; the rest is in the cache then.
 * @throws {FetchError} where the cache directory cannot be made, not be written, or is full.
 */
export async function fetchAll(
  options: FetchOptions,
  machine: Machine = thisMachine(),
): Promise<FetchedSupplies> {
  return inCache(machine, async () => await fetchEverything(options, machine));
}

async function fetchEverything(options: FetchOptions, machine: Machine): Promise<FetchedSupplies> {
  await using session = await openSession(options, machine);
  const total = KERNEL_SERIES.length + UDEV_SUITES.length + 6;
  let done = 0;
  const next = (what: string): void => options.step?.(what, done++, total);
  next("QEMU");
  const qemu = await session.qemu(true);
  const kernels: KernelSupply[] = [];
  for (const series of KERNEL_SERIES) {
    next(`kernel ${series}`);
    const kernel = await session.kernel(series);
    if (kernel !== undefined) kernels.push(kernel);
  }
  next("busybox");
  const busybox = await session.busybox();
  next("kexec-tools");
  const kexec = await session.kexec();
  const udevs: UdevSupply[] = [];
  for (const suite of UDEV_SUITES) {
    next(`udev of ${suite}`);
    const udev = await session.udev(suite);
    if (udev !== undefined) udevs.push(udev);
  }
  next("tools that read dumps");
  const tools = await session.tools();
  next("libvirt");
  const libvirt = await session.libvirt(true);
  next("bubblewrap");
  await session.launcher();
  if (
    qemu === undefined ||
    busybox === undefined ||
    kexec === undefined ||
    tools === undefined ||
    libvirt === undefined ||
    session.missing.length > 0
  ) {
    throw new SupplyError(session.missing);
  }
  return { qemu, kernels, busybox, kexec, udevs, tools, libvirt };
}

/** Puts into words what the file system says while the cache is written. */
async function inCache<T>(machine: Machine, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw cacheTrouble(error, machine.cacheRoot);
  }
}

async function openSession(options: FetchOptions, machine: Machine): Promise<Session> {
  const { log, signal } = options;
  signal?.throwIfAborted();
  return new Session({ machine, log, signal, cache: await openCache(machine.cacheRoot, log) });
}

/** One call's worth of supplying: it collects what is missing instead of stopping at the first. */
class Session implements AsyncDisposable {
  readonly context: FetchContext;
  readonly missing: MissingSupply[] = [];
  #workshop: Promise<Workshop> | undefined;

  constructor(context: FetchContext) {
    this.context = context;
  }

  /** The value; or undefined, and its reason among `missing`. */
  async get<T>(what: string, option: string | undefined, how: () => Promise<T>): Promise<T | undefined> {
    try {
      return await how();
    } catch (error) {
      if (!(error instanceof FetchError || error instanceof RunError)) throw error;
      this.missing.push({ what, option, reason: error.message });
      return undefined;
    }
  }

  qemu(install: boolean): Promise<QemuSupply | undefined> {
    return this.get("qemu", "--qemu FILE", () => supplyQemu(this.context, () => this.workshop(), install));
  }

  kernel(series: KernelSeries): Promise<KernelSupply | undefined> {
    return this.get(`kernel ${series}`, "--kernel FILE", async () =>
      kernelFromEntry(
        series,
        await this.#entry(kernelEntryName(series), (workshop) => fetchKernel(workshop, series)),
      ),
    );
  }

  busybox(): Promise<string | undefined> {
    return this.get("busybox", "--busybox FILE", async () => {
      try {
        return busyboxFromEntry(await this.#entry(BUSYBOX_ENTRY, fetchBusybox));
      } catch (error) {
        // The machine's own is as good where it is static, but it is not what other machines run.
        const own =
          error instanceof FetchError ? await findProgram(this.context.machine, "busybox") : undefined;
        if (own === undefined || (await readInterpreter(own)) !== undefined) throw error;
        this.context.log(`Using ${own}: ${error instanceof Error ? error.message : String(error)}`);
        return own;
      }
    });
  }

  kexec(): Promise<KexecSupply | undefined> {
    return this.get("kexec", "--kexec FILE", async () =>
      kexecFromEntry(await this.#entry(KEXEC_ENTRY, fetchKexec)),
    );
  }

  udev(suite: UdevSuite): Promise<UdevSupply | undefined> {
    return this.get(`udev of ${suite}`, undefined, async () =>
      udevFromEntry(suite, await this.#entry(udevEntryName(suite), (workshop) => fetchUdev(workshop, suite))),
    );
  }

  tools(): Promise<ToolsSupply | undefined> {
    return this.get("tools that read dumps", undefined, async () =>
      toolsFromEntry(await this.#entry(TOOLS_ENTRY, fetchTools)),
    );
  }

  libvirt(install: boolean): Promise<LibvirtSupply | undefined> {
    return this.get("libvirt", "install libvirt-daemon, libvirt-daemon-driver-qemu and libvirt-clients", () =>
      supplyLibvirt(this.context, () => this.workshop(), install),
    );
  }

  /** What starts QEMU so that it cannot outlive us. Essential on Debian; elsewhere it may be missing. */
  launcher(): Promise<string | undefined> {
    return this.get("setpriv", "install util-linux", async () => {
      const path = await findProgram(this.context.machine, "setpriv");
      if (path === undefined) throw new FetchError("there is no setpriv in PATH");
      return path;
    });
  }

  /**
   * Opened when the first thing has to be fetched.
   *
   * @throws {FetchError} where this machine has no apt, or no Debian archive.
   */
  workshop(): Promise<Workshop> {
    this.#workshop ??= openWorkshop(this.context);
    return this.#workshop;
  }

  async #entry(name: string, fetch: (workshop: Workshop) => Promise<CacheEntry>): Promise<CacheEntry> {
    return (await this.context.cache.read(name)) ?? fetch(await this.workshop());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const workshop = await this.#workshop?.catch(() => undefined);
    await workshop?.close();
  }
}

async function openWorkshop(context: FetchContext): Promise<Workshop> {
  const { machine } = context;
  for (const program of ["apt-get", "apt-cache", "dpkg-deb", "dpkg"]) {
    if ((await findProgram(machine, program)) === undefined)
      throw new FetchError(`there is no ${program} in PATH`);
  }
  if (machine.cpu !== "x64")
    throw new FetchError(`only an x86-64 machine can fetch it, this is ${machine.cpu}`);
  return new Workshop(context, await readOwnSources(machine));
}
