/** What a run with several kernels boots: supplies and initramfs images, once for each kernel. */
import { suiteOf } from "../lab/fetch/kernel.ts";
import { type LabSupplies, supply } from "../lab/fetch/supplies.ts";
import { AcceleratorChoice } from "../lab/guest.ts";
import { buildParts, type BuiltParts } from "../lab/parts.ts";
import type { Context } from "./context.ts";
import type { SuppliesOptions } from "./options.ts";

/** What all of them are supplied with. */
export interface KernelsOptions extends SuppliesOptions {
  /** Whether guests need the udev of their kernel's release. */
  readonly udev: boolean;
  /** Whether guests need Node and this program. Default: no. */
  readonly node?: boolean;
}

/** Dispose of it: then the images are gone. */
export class LabKernels implements AsyncDisposable {
  /** One choice for all guests. */
  readonly accelerator: AcceleratorChoice;
  readonly #context: Context;
  readonly #options: KernelsOptions;
  readonly #supplies = new Map<string, Promise<LabSupplies>>();
  readonly #parts = new Map<string, Promise<BuiltParts>>();

  constructor(context: Context, options: KernelsOptions) {
    this.#context = context;
    this.#options = options;
    this.accelerator = new AcceleratorChoice(options.accel);
  }

  /** @throws {SupplyError} with everything that is missing. */
  async supplies(kernel: string): Promise<LabSupplies> {
    const { qemu, busybox, kexec, udev: wanted, node } = this.#options;
    const { say: log, signal } = this.#context;
    const udev = wanted ? suiteOf(kernel) : undefined;
    const known =
      this.#supplies.get(kernel) ?? supply({ kernel, qemu, busybox, kexec, udev, node, log, signal });
    this.#supplies.set(kernel, known);
    return known;
  }

  /** Built where nobody has asked for them before. */
  async parts(kernel: string): Promise<BuiltParts> {
    const known =
      this.#parts.get(kernel) ??
      this.supplies(kernel).then(async (supplies) => await buildParts(supplies, this.accelerator));
    this.#parts.set(kernel, known);
    return known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const parts of this.#parts.values()) {
      const built = await parts.catch(() => undefined);
      await built?.[Symbol.asyncDispose]();
    }
  }
}
