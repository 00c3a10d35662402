/** What a panic is said to have given, by how the guest's QEMU ended. */
import { expect, test } from "vitest";
import type { AgentChannel } from "../../src/lab/channel.ts";
import { LostGuestError } from "../../src/lab/errors.ts";
import type { ProcessEnd } from "../../src/lab/guest.ts";
import { panic } from "../../src/lab/guest-actions.ts";

/** A guest whose capture kernel does not report, and whose QEMU ends like that. */
function silentGuest(end: ProcessEnd | undefined): Parameters<typeof panic>[0] {
  const agent: Pick<AgentChannel, "send" | "hello"> = {
    send: () => undefined,
    hello: async () => {
      throw new LostGuestError("The guest's serial line was closed: QEMU has ended");
    },
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- panic uses no more of it
  return { agent: agent as AgentChannel, end: async () => end };
}

test.each([
  ["a guest that hangs", undefined],
  ["a guest that resets, which ends QEMU", { code: 0, signal: null }],
])("%s gives no dump", async (_what, end) => {
  expect(await panic(silentGuest(end))).toBe(false);
});

test.each([
  ["by SIGKILL", { code: null, signal: "SIGKILL" }],
  ["with exit code 1", { code: 1, signal: null }],
] as const)("a QEMU that ends %s is a lost guest, and no result", async (how, end) => {
  await expect(panic(silentGuest(end))).rejects.toMatchObject({
    name: "LostGuestError",
    message: expect.stringContaining(`QEMU itself ended ${how}`),
  });
});
