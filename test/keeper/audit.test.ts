/** What is said of a machine, for each state that it can be in. */
import { describe, expect, test } from "vitest";
import { auditMachine, type Audit } from "../../src/keeper/audit.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import { type Form, FORMS, unload } from "../image/fake-loaders.ts";
import { FakeKernel, PLACES, text } from "../image/fake-machine.ts";
import { FakeTarget, slots } from "./fake-target.ts";

const audit = (target: FakeTarget): Promise<Audit> => auditMachine(target, nodeSha256);

describe.each(FORMS)("an image of form %s", (form: Form) => {
  test("is accurate where it describes all that is there", async () => {
    const target = new FakeTarget(form, { extraRam: [slots(0)] });
    target.add(slots(0));
    expect(await audit(target)).toMatchObject({ verdict: "accurate", warnings: [] });
  });

  test.each(["hidden", "overwritten"])("that is %s for the moment of a look is accurate", async (how) => {
    const target = new FakeTarget(form);
    const before = target.memory.snapshot();
    if (how === "hidden") unload(target.kernel);
    else target.memory.poke(target.image.segments.get("initrd")!.start, Uint8Array.of(1, 2, 3, 4, 5));
    const layout = target.layout.bind(target);
    let looks = 0;
    target.layout = async () => {
      if (looks++ === 0) target.memory.restore(before);
      return await layout();
    };
    expect(await audit(target)).toMatchObject({ verdict: "accurate" });
    expect(looks).toBe(2);
  });

  test("is inaccurate where memory is missing, and keep is named as the remedy", async () => {
    const target = new FakeTarget(form);
    target.add(slots(1));
    const { verdict, missing, stale, reason } = await audit(target);
    expect({ verdict, missing: missing.ranges, stale: stale.ranges }).toEqual({
      verdict: "inaccurate",
      missing: [slots(1)],
      stale: [],
    });
    expect(reason).toContain("keep");
  });

  test("is inaccurate where it claims memory that is gone", async () => {
    const target = new FakeTarget(form, { extraRam: [slots(1)] });
    const { verdict, missing, stale } = await audit(target);
    expect({ verdict, missing: missing.ranges, stale: stale.ranges }).toEqual({
      verdict: "inaccurate",
      missing: [],
      stale: [slots(1)],
    });
  });

  test("is inaccurate where a CPU has no note, and keep is not promised to help", async () => {
    const target = new FakeTarget(form);
    target.setCpus(4);
    const { verdict, cpus, reason } = await audit(target);
    expect(verdict).toBe("inaccurate");
    expect(cpus).toMatchObject({
      present: 4,
      described: 2,
      missing: ["/machine/peripheral/cpu2", "/machine/peripheral/cpu3"],
    });
    expect(reason).toContain("the registers of 2 CPUs");
    expect(reason).not.toContain("keep");
  });

  test("lacks no CPU where notes are for more CPUs than are present", async () => {
    const target = new FakeTarget(form);
    target.setCpus(1);
    expect(await audit(target)).toMatchObject({
      verdict: "accurate",
      cpus: { present: 1, described: 2, missing: [] },
    });
  });

  test("is not loaded once it was unloaded, with the leftover named", async () => {
    const target = new FakeTarget(form);
    unload(target.kernel);
    const { verdict, reason, image } = await audit(target);
    expect(verdict).toBe("not-loaded");
    expect(reason).toContain("left over");
    expect(image).toBeUndefined();
  });

  test("is broken where its digest does not match", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(target.image.digestAddress, Uint8Array.of(1, 2, 3));
    expect(await audit(target)).toMatchObject({
      verdict: "broken",
      image: { digest: { state: "mismatch" } },
    });
  });

  test("is unknown where its digest was not found, however true its header is", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(target.image.tableAddress, new Uint8Array(256));
    const { verdict, reason, image } = await audit(target);
    expect({ verdict, digest: image?.digest.state }).toEqual({ verdict: "unknown", digest: "not-found" });
    expect(reason).toMatch(/digest .* was not found .*; reload the capture kernel/);
  });

  test("is unknown once the guest has panicked, also where its header lacks memory", async () => {
    const target = new FakeTarget(form);
    target.kernel.fillCrashNote(1);
    for (const change of [() => undefined, () => target.add(slots(0))]) {
      change();
      const { verdict, reason } = await audit(target);
      expect(verdict).toBe("unknown");
      expect(reason).toMatch(/has panicked: its CPU note at 0x[0-9a-f]+ is in use/);
      expect(reason).not.toContain("keep");
    }
  });

  test("is unknown where no kernel says that it is loaded, even with a digest that does not match", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(PLACES.name, text("Nothing here\0"));
    expect(await audit(target)).toMatchObject({ verdict: "unknown", image: { loaded: "unconfirmed" } });
    target.memory.poke(target.image.digestAddress, Uint8Array.of(1, 2, 3));
    expect(await audit(target)).toMatchObject({ verdict: "unknown" });
  });

  test("draws a warning where its command line lacks acpi_no_memhotplug and memory is or can be hot-plugged", async () => {
    const target = new FakeTarget(form, {
      parameters: "console=ttyS0 xacpi_no_memhotplug",
      extraRam: [slots(0)],
    });
    target.canGrow = false;
    expect((await audit(target)).warnings).toEqual([]);
    for (const canGrow of [true, undefined]) {
      target.canGrow = canGrow;
      expect((await audit(target)).warnings).toEqual([expect.stringContaining("acpi_no_memhotplug")]);
    }
    target.canGrow = false;
    target.add(slots(0));
    const { verdict, warnings } = await audit(target);
    expect(verdict).toBe("accurate");
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("acpi_no_memhotplug");
  });

  test("draws warnings where command line or digest is not found", async () => {
    const target = new FakeTarget(form);
    target.memory.poke(target.image.commandLineAddress, new Uint8Array(64));
    target.memory.poke(target.image.tableAddress, new Uint8Array(256));
    target.add(slots(0));
    const { verdict, warnings, reason } = await audit(target);
    expect(verdict).toBe("inaccurate");
    expect(warnings.map((warning) => warning.split(" was not found")[0])).toEqual([
      "The capture kernel's command line",
      "The image's digest",
    ]);
    expect(reason).toContain("reload");
  });
});

test("a kernel without crashkernel= is told what to boot with", async () => {
  const target = new FakeTarget("file");
  const { memory } = new FakeKernel({ crashkRes: undefined });
  const machine = { name: "m", memory, layout: () => target.layout(), paused: target.paused.bind(target) };
  const { verdict, reason } = await auditMachine(machine, nodeSha256);
  expect(verdict).toBe("not-loaded");
  expect(reason).toContain("crashkernel=");
});

test("a machine of which nothing can be told is unknown", async () => {
  const target = new FakeTarget("file");
  target.memory.restore(new Map());
  const { verdict, reason } = await audit(target);
  expect(verdict).toBe("unknown");
  expect(reason).toContain("It cannot be told");
});
