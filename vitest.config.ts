import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/program/**"],
          // Far more than any takes: a machine that is busy with other things is no reason to fail.
          testTimeout: 30_000,
        },
      },
      {
        // The built program, without QEMU.
        test: {
          name: "program",
          include: ["test/program/**/*.test.ts"],
        },
      },
      {
        // Real kernels under QEMU: one guest at a time, or two cores are not enough for honest pauses.
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});

export default config;
