/** Layouts on which Linux's own handler judges our header: they are reached one DIMM after the other. */

/** One change, MiB. `at` is where the DIMM goes, from where hot-added memory begins; QEMU chooses unless told. */
export type LayoutStep =
  | { readonly add: number; readonly at?: number }
  /** Removes the DIMM that the change of this number (from 0) added. */
  | { readonly remove: number };

/** A machine, and the changes that it goes through. */
export interface LayoutCourse {
  readonly name: string;
  /** Boot RAM, MiB. QEMU's q35 puts what is beyond 2 GiB above 4 GiB. */
  readonly ramMiB: number;
  readonly steps: readonly LayoutStep[];
}

/** DIMMs that never touch each other, in no order and of many sizes: here nothing stands between our bytes and the kernel's. */
const APART: LayoutCourse = {
  name: "1 GiB of boot RAM, DIMMs apart, in no order",
  ramMiB: 1024,
  steps: [
    { add: 128, at: 128 },
    { add: 256, at: 16_384 },
    { add: 128, at: 4096 },
    { add: 384, at: 1024 },
    { add: 128, at: 262_144 },
    { add: 512, at: 8192 },
    { add: 128, at: 512 },
    { add: 128, at: 768 },
    { add: 640, at: 131_072 },
    { add: 128, at: 3712 },
    { add: 256, at: 2048 },
    { add: 128, at: 9216 },
    { add: 896, at: 32_768 },
    { add: 128, at: 1536 },
    { add: 128, at: 16_128 },
    { add: 256, at: 65_536 },
    { add: 128, at: 2432 },
    { add: 128, at: 8960 },
    { add: 1024, at: 5120 },
    { add: 128, at: 1792 },
  ],
};

/** Upwards for the most part: holes are left and filled, so that DIMMs come to touch from below, above and both. */
const UPWARDS: LayoutCourse = {
  name: "1 GiB of boot RAM, DIMMs upwards, holes left and filled",
  ramMiB: 1024,
  steps: [
    { add: 128 },
    { add: 128 },
    { add: 256, at: 1024 },
    { add: 128 },
    { add: 512, at: 2048 },
    { add: 128, at: 896 },
    { add: 1024, at: 4096 },
    { add: 384, at: 384 },
    { add: 128, at: 768 },
    { add: 256, at: 1536 },
    { add: 128, at: 1280 },
    { add: 128, at: 1408 },
    { add: 640, at: 65_536 },
  ],
};

/** Downwards, from memory that touches boot RAM; then removals, each with a later change that mends the header. */
const DOWNWARDS: LayoutCourse = {
  name: "3 GiB of boot RAM, 1 GiB of it above 4 GiB, DIMMs downwards, then removals",
  ramMiB: 3072,
  steps: [
    { add: 128, at: 8192 },
    { add: 128, at: 8064 },
    { add: 256, at: 4096 },
    { add: 128, at: 0 },
    { add: 128, at: 7936 },
    { add: 512, at: 2048 },
    { add: 128, at: 1920 },
    { add: 128, at: 256 },
    { add: 128, at: 128 },
    { add: 128, at: 16_384 },
    { remove: 9 },
    { add: 128, at: 12_288 },
    { remove: 1 },
    { add: 256, at: 32_768 },
  ],
};

export const COURSES: readonly LayoutCourse[] = [APART, UPWARDS, DOWNWARDS];
