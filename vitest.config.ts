import { availableParallelism } from "node:os";

import { defineConfig, type ViteUserConfig } from "vitest/config";

/** Tests in which time matters: one guest at a time, or two cores are not enough for it. */
const ALONE = [
  "campaign",
  "cpus",
  "documented-lab",
  "keep",
  "killed-keeper",
  "lab-interrupt",
  "libvirt",
  "loaded-image",
  "policies",
  "qemu-memory",
  "two-keepers",
].map((name) => `test/real/${name}.test.ts`);
/** Real kernels under QEMU. */
const REAL = { testTimeout: 600_000, hookTimeout: 600_000 };

const config: ViteUserConfig = defineConfig({
  test: {
    // One less than there are would be vitest's own choice: of two cores the second would only watch the first.
    maxWorkers: availableParallelism(),
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/program/**", "test/browser/**"],
          // Far more than any takes: a machine that is busy with other things is no reason to fail.
          testTimeout: 30_000,
          hookTimeout: 60_000,
          // A process for each of 130 files costs more than most of what is in them: a worker keeps its process and the
          // modules that it has read. So a test puts back what it changes outside of itself (timers, spies, files).
          // Forks, not threads: tests send themselves signals, and count the processor time of their process.
          pool: "forks",
          isolate: false,
        },
      },
      {
        // The built program, without QEMU.
        test: {
          name: "program",
          include: ["test/program/**/*.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 120_000,
        },
      },
      {
        // Pages of the built program in Debian's Chromium.
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        // How many at a time is said by who runs them (test/run.mjs).
        test: { ...REAL, name: "real", include: ["test/real/**/*.test.ts"], exclude: ALONE },
      },
      {
        // Three runs of the lab that only wait for their guests keep two processors busy (documented-lab).
        test: { ...REAL, name: "real-alone", include: ALONE, fileParallelism: false, maxConcurrency: 3 },
      },
    ],
  },
});

export default config;
