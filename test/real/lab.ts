/** What tests on real kernels share: the lab's supplies and initramfs images, and guests made of them. */
import { SupplyError } from "../../src/lab/fetch/errors.ts";
import { type LabSupplies, supply } from "../../src/lab/fetch/supplies.ts";
import type { UdevSuite } from "../../src/lab/fetch/udev.ts";
import { AcceleratorChoice, type LabGuest } from "../../src/lab/guest.ts";
import type { GuestMachine } from "../../src/lab/guest-machine.ts";
import { buildParts, type BuiltParts } from "../../src/lab/parts.ts";
import { loadCaptureKernel } from "../../src/lab/guest-actions.ts";
import { bootPatiently, type Scenario } from "../../src/lab/scenario.ts";

type BootOptions = Partial<GuestMachine>;

/** One kernel's lab. Close it. */
export class Lab {
  readonly parts: BuiltParts;
  readonly supplies: LabSupplies;

  constructor(parts: BuiltParts, supplies: LabSupplies) {
    this.parts = parts;
    this.supplies = supplies;
  }

  /** Boots a guest, of 1 GiB with 256 MiB of crash memory and a shared RAM file unless told. Dispose of it. */
  async boot(options: BootOptions = {}): Promise<LabGuest> {
    const wanted = { ramMiB: 1024, crashkernelMiB: 256, ram: "shared", ...options } as const;
    return (await bootPatiently(this.parts, wanted, { log: console.error })).guest;
  }

  /** Boots a guest and loads its capture kernel, by kexec_file_load unless told. */
  async bootLoaded(
    options: BootOptions & Partial<Pick<Scenario, "load" | "acpiNoMemhotplug">> = {},
  ): Promise<LabGuest> {
    const guest = await this.boot(options);
    try {
      await loadCaptureKernel(guest.agent, { load: "kexec_file_load", acpiNoMemhotplug: true, ...options });
      return guest;
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.parts[Symbol.asyncDispose]();
  }
}

/** What a lab is to have beside a kernel. */
interface LabWishes {
  readonly udev?: UdevSuite;
  readonly tools?: boolean;
  readonly node?: boolean;
  readonly libvirt?: boolean;
}

/**
 * The lab with `kernel`, or undefined where supplies are missing; which ones is printed then.
 *
 *     const lab = await openLab("bad input");
 *     afterAll(() => lab?.close());
 *     describe.skipIf(!lab)("bad input", …);
 */
export async function openLab(
  what: string,
  kernel = "6.1",
  wishes: LabWishes = {},
): Promise<Lab | undefined> {
  const supplies = await findSupplies(what, kernel, wishes);
  return supplies && new Lab(await buildParts(supplies, new AcceleratorChoice()), supplies);
}

/** What a lab with `kernel` is made of, or undefined as with {@link openLab}. */
export async function findSupplies(
  what: string,
  kernel: string,
  wishes: LabWishes,
): Promise<LabSupplies | undefined> {
  try {
    return await supply({ kernel, ...wishes, install: false, log: () => undefined });
  } catch (error) {
    // Only what is missing here is a reason to skip; after `lab fetch` got everything, nothing is.
    if (!(error instanceof SupplyError) || process.env["KDUMP_HOTPLUG_LAB"] === "required") throw error;
    console.error(`Skipped: ${what}, because ${error.message}`);
    return undefined;
  }
}
