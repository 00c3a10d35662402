/** Where the guest's kernel has what is watched from outside. */
import { kernelImage, parseIomem } from "../../layout/iomem.ts";
import type { AgentChannel } from "../channel.ts";
import { MeasurementError } from "../errors.ts";

/** How the kexec lock is held: an atomic counter (v6.0 on), or a mutex with its owner in the first word. */
export type LockKind = "counter" | "mutex";

/** Physical addresses. */
export interface WatchedPlaces {
  /** `kexec_crash_image`: a pointer, NULL where nothing is loaded. */
  readonly image: bigint;
  /** The kexec lock: who panics while it is held gets no dump (`__crash_kexec`). */
  readonly lock: bigint;
  readonly lockKind: LockKind;
  /** `_totalram_pages`: grows as a block comes online (`generic_online_page`). */
  readonly pages: bigint;
  /** `page_offset_base`: where the linear mapping begins, as a word of 8 bytes. */
  readonly pageOffsetBase: bigint;
  /** `__cpu_online_mask`: a bit for each CPU number. */
  readonly onlineCpus: bigint;
}

const NAMES =
  "_text|kexec_crash_image|__kexec_lock|kexec_mutex|_totalram_pages|page_offset_base|__cpu_online_mask";

/** Asks the guest. Its kernel says symbols only to root, and variables only with KALLSYMS_ALL, which Debian's has. */
export async function findPlaces(agent: AgentChannel): Promise<WatchedPlaces> {
  const symbols = await agent.output(`grep -wE '(${NAMES})$' /proc/kallsyms`);
  return placesOf(symbols, await agent.output("cat /proc/iomem"));
}

/**
 * Places from the text of /proc/kallsyms and /proc/iomem: physical = start of "Kernel code" + (symbol - `_text`).
 *
 * @throws {MeasurementError} naming the symbol that is not there.
 */
export function placesOf(kallsyms: string, iomem: string): WatchedPlaces {
  const addresses = new Map<string, bigint>();
  for (const [, address, name] of kallsyms.matchAll(/^([0-9a-f]{1,16}) \w (\S+)$/gm))
    addresses.set(name!, BigInt(`0x${address}`));
  const code = kernelImage(parseIomem(iomem));
  if (!code) throw new MeasurementError(`The guest's /proc/iomem has no "Kernel code"`);
  const place = (...names: readonly string[]): bigint => {
    const text = addresses.get("_text") ?? 0n;
    const name = names.find((each) => addresses.has(each));
    if (name === undefined || text === 0n)
      throw new MeasurementError(`The guest's /proc/kallsyms does not say where ${names.join(" or ")} is`);
    return code.start + (addresses.get(name)! - text);
  };
  return {
    image: place("kexec_crash_image"),
    // "panic, kexec: make __crash_kexec() NMI safe" (in v6.0) made an atomic of the mutex.
    lock: place("__kexec_lock", "kexec_mutex"),
    lockKind: addresses.has("__kexec_lock") ? "counter" : "mutex",
    pages: place("_totalram_pages"),
    pageOffsetBase: place("page_offset_base"),
    onlineCpus: place("__cpu_online_mask"),
  };
}
