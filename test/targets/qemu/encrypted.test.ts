import { afterEach, describe, expect, it } from "vitest";

import { exitOfError } from "../../../src/cli/exit.ts";
import { QemuGuest } from "../../../src/targets/qemu/guest.ts";
import { type FakeGuest, startFakeGuest } from "./fake-guest.ts";
import type { Handler } from "./fake-qmp.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function fakeOf(handlers: Readonly<Record<string, Handler>>): Promise<FakeGuest> {
  const fake = await startFakeGuest({ handlers });
  cleanUps.push(fake.stop);
  return fake;
}

const withObject = (type: string) => ({
  "qom-list": () => [
    { name: "ram0", type: "child<memory-backend-ram>" },
    { name: "lsec0", type: `child<${type}>` },
  ],
});

describe("a guest with encrypted memory", () => {
  it.each([
    ["AMD SEV, object", withObject("sev-guest")],
    ["AMD SEV-SNP, object", withObject("sev-snp-guest")],
    ["Intel TDX, object", withObject("tdx-guest")],
    ["AMD SEV, as query-sev says", { "query-sev": () => ({ enabled: true, "api-major": 0 }) }],
  ])("is refused: %s", async (words, handlers) => {
    const fake = await fakeOf(handlers);
    const error: unknown = await QemuGuest.open(fake.path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "EncryptedMemoryError", message: expect.stringContaining(words) });
    expect(exitOfError(error)).toBe(3);
    expect(fake.log.filter((line) => !/^q(om-list|uery-sev)$/.test(line))).toEqual([]);
    // The connection is given up too: QEMU serves one.
    await expect.poll(() => fake.connections[0]?.destroyed).toBe(true);
  });

  it.each([
    ["has no such command", {}],
    ["says that it is off", { "query-sev": () => ({ enabled: false }) }],
    ["says something else", { "query-sev": () => [] }],
    ["has an object of another kind", withObject("secret")],
  ])("is not one whose QEMU %s", async (_name, handlers) => {
    const fake = await fakeOf(handlers);
    const guest = await QemuGuest.open(fake.path, { tmpDir: fake.directory });
    expect(await guest.status()).toBe("running");
    await guest.close();
  });
});
