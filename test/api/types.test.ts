/**
 * The types of the library, as a user's compiler sees them: `npm run typecheck` fails where one of these is no longer
 * true. The run itself only shows that the names are there.
 */
import { describe, expectTypeOf, test } from "vitest";
import {
  type Audit,
  auditMachine,
  buildCoreHeader,
  type CoreHeader,
  decodeCoreHeader,
  encodeCoreHeader,
  type Location,
  type Machine,
  nodeSha256,
  parseSpec,
  type PhysicalMemory,
  type PluggableMachine,
  plugMemory,
  type RangeSet,
  RuleSet,
  type Sha256,
  type SimulatedTarget,
  type Verdict,
  watch,
  type WatchEvent,
} from "../../src/index.ts";
import { decodeCoreHeader as pureDecode } from "../../src/pure.ts";

describe("types", () => {
  test("a header goes round", () => {
    expectTypeOf(decodeCoreHeader).toEqualTypeOf<(bytes: Uint8Array) => CoreHeader>();
    expectTypeOf(encodeCoreHeader).parameters.toEqualTypeOf<[CoreHeader]>();
    expectTypeOf(pureDecode).toEqualTypeOf(decodeCoreHeader);
  });

  test("addresses are bigint, and nothing is written to what was decoded", () => {
    const input = {
      cpuNotes: [{ paddr: 0x1000n, size: 4096n }],
      vmcoreinfo: undefined,
      kernelText: undefined,
      pageOffset: 0n,
    };
    const header = buildCoreHeader({ ...input, ram: [] });
    expectTypeOf(header.programHeaders[0]!.p_paddr).toEqualTypeOf<bigint>();
    // @ts-expect-error -- a number is no address
    const wrong = (): CoreHeader => buildCoreHeader({ ...input, ram: [{ start: 0, end: 4096 }] });
    // @ts-expect-error -- read-only
    const write = (): unknown => (header.programHeaders[0]!.p_paddr = 0n);
    expectTypeOf(wrong).toBeFunction();
    expectTypeOf(write).toBeFunction();
  });

  test("what was found is told apart by one word", () => {
    expectTypeOf<Location["found"]>().toEqualTypeOf<
      "image" | "nothing-loaded" | "no-crash-memory" | "unknown"
    >();
    expectTypeOf<Verdict>().toEqualTypeOf<"accurate" | "inaccurate" | "not-loaded" | "broken" | "unknown">();
    expectTypeOf<Audit["missing"]>().toEqualTypeOf<RangeSet>();
  });

  test("the simulated machine stands in for a real one", () => {
    expectTypeOf<SimulatedTarget>().toExtend<PluggableMachine>();
    expectTypeOf(nodeSha256).toExtend<Sha256>();
    expectTypeOf<SimulatedTarget["memory"]>().toEqualTypeOf<PhysicalMemory>();
    expectTypeOf(parseSpec).returns.toEqualTypeOf<Parameters<typeof SimulatedTarget.open>[1]>();
    expectTypeOf(auditMachine).parameter(0).toEqualTypeOf<Machine>();
    expectTypeOf(plugMemory).parameter(0).toEqualTypeOf<PluggableMachine>();
    // @ts-expect-error -- nothing can be added to such a machine
    expectTypeOf<Machine>().toExtend<PluggableMachine>();
  });

  test("an event of a watch is one of three", () => {
    expectTypeOf<WatchEvent["kind"]>().toEqualTypeOf<"installed" | "verdict" | "failed">();
    expectTypeOf(watch).returns.toEqualTypeOf<Promise<void>>();
  });

  test("rules are read without a file", () => {
    const rules = RuleSet.parse([{ path: "98-kexec.rules", text: "" }]);
    expectTypeOf(rules).toEqualTypeOf<RuleSet>();
    expectTypeOf(rules.files[0]!.path).toEqualTypeOf<string>();
  });
});
