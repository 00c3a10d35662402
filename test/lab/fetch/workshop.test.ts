import { expect, test } from "vitest";
import { SupplyCache } from "../../../src/lab/fetch/cache.ts";
import { Workshop } from "../../../src/lab/fetch/workshop.ts";
import { FakeMachine } from "./fake-machine.ts";

/** A cache in which nobody may write. */
class ForeignCache extends SupplyCache {
  override async workDirectory(): Promise<string> {
    throw Object.assign(new Error("EACCES: permission denied, mkdtemp '/c/.work-1'"), { code: "EACCES" });
  }
}

test("a directory that cannot be made is one error, not two", async () => {
  await using machine = await FakeMachine.create();
  const cache = new ForeignCache("/c", machine.log);
  const workshop = new Workshop({ machine, cache, log: machine.log }, { codename: "trixie", sources: [] });
  await expect(workshop.directory("apt")).rejects.toThrow("EACCES");
  await expect(workshop.close()).resolves.toBeUndefined();
});
