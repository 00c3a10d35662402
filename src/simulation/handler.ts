/** The kernel's own handler of hot-plug events (>= 6.6, crash_handle_hotplug_event): rewrites the header in place. */
import { u32 } from "../image/bytes.ts";
import { rangeBytes } from "../layout/range.ts";
import { kernelHeader } from "./describe.ts";
import { readLoadedKimage } from "./kernel-data.ts";
import type { SparseMemory } from "./memory.ts";
import type { SystemState } from "./system.ts";

const ELF_MAGIC = 0x464c_457f;

/** What the handler did; `too large` leaves the old header, with a line in the kernel's log. */
export type Handled = "rewritten" | "no image" | "no header" | "too large";

/**
 * What MEM_ONLINE and MEM_OFFLINE do to an image that supports it. The header is made from /proc/iomem as it is
 * then: at MEM_OFFLINE the DIMM is still listed there, and nothing calls the handler once it is gone, so a removed
 * DIMM stays described until the next memory event (seen on 6.12.107).
 */
export function handleMemoryEvent(memory: SparseMemory, system: SystemState): Handled {
  const image = readLoadedKimage(memory, system.blueprint);
  if (!image) return "no image";
  // The kernel's loop has no break: the last segment that begins like an ELF file wins.
  const segment = image.segments.findLast(({ start }) => u32(memory.peek(start, 4), 0) === ELF_MAGIC);
  if (!segment) return "no header";
  const { bytes } = kernelHeader(system);
  if (BigInt(bytes.length) > rangeBytes(segment)) return "too large";
  memory.poke(segment.start, bytes);
  return "rewritten";
}
