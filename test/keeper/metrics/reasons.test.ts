import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { CoreHeaderError } from "../../../src/elfcore/error.ts";
import { ImageError } from "../../../src/image/error.ts";
import { MemoryAccessError } from "../../../src/image/memory.ts";
import { adoptReason, failureReason, isOfInstall } from "../../../src/keeper/metrics/reasons.ts";
import { FlatViewError } from "../../../src/targets/qemu/flat-view.ts";
import { GdbProtocolError } from "../../../src/targets/qemu/gdb-packet.ts";
import { GdbError } from "../../../src/targets/qemu/gdb-remote.ts";
import { KeeperBusyError } from "../../../src/targets/qemu/keeper-lock.ts";
import { GuestMemoryError } from "../../../src/targets/qemu/memory.ts";
import { PmemsaveError } from "../../../src/targets/qemu/pmemsave.ts";
import {
  QmpClosedError,
  QmpCommandError,
  QmpConnectError,
  QmpReplyError,
} from "../../../src/targets/qemu/qmp-errors.ts";
import { RunStateError } from "../../../src/targets/qemu/run-state.ts";
import { RamFileError } from "../../../src/targets/qemu/ram-file.ts";

/** An error with the name that its class gives, whatever its constructor wants. */
function named(type: { readonly prototype: Error; readonly name: string }): unknown {
  const error: Error = Object.create(type.prototype);
  // Names are fields of the instances.
  return Object.assign(error, { name: type.name });
}

test.each([
  [new ImageError("half-written", "x"), "half-written"],
  [new ImageError("not-loaded", "x"), "not-loaded"],
  [new QmpClosedError("x"), "lost"],
  [new QmpConnectError("busy", "/a", "x"), "busy"],
  [new QmpConnectError("absent", "/a", "x"), "qmp"],
  [new QmpCommandError("stop", "GenericError", "x"), "qmp"],
  [new QmpReplyError("stop", "x"), "qmp"],
  [new KeeperBusyError("x"), "busy"],
  [named(RunStateError), "run-state"],
  [named(GdbError), "gdb"],
  [named(GdbProtocolError), "gdb"],
  [named(GuestMemoryError), "memory"],
  [named(PmemsaveError), "memory"],
  [named(RamFileError), "memory"],
  [named(FlatViewError), "memory"],
  [named(MemoryAccessError), "memory"],
  [named(CoreHeaderError), "forged"],
  [Object.assign(new Error("x"), { code: "ENOSPC" }), "system"],
  [Object.assign(new Error("x"), { code: "not one" }), "other"],
  [new Error("x"), "other"],
  ["thrown by nobody that we know", "other"],
  [new AggregateError([new Error("x"), new GdbProtocolError("x")]), "gdb"],
  [new AggregateError([new QmpClosedError("x"), new ImageError("half-written", "x")]), "half-written"],
])("failure %#: %s is of class %s", (error, reason) => {
  expect(failureReason(error)).toBe(reason);
});

test("the names by which classes are known are those that instances carry", () => {
  // What `named` assumes of the classes that it does not construct.
  for (const type of [RunStateError, GdbError, GuestMemoryError, PmemsaveError, RamFileError, FlatViewError])
    expect(type.toString()).toContain(`name = "${type.name}"`);
});

test("only what an install alone ends with is of installs", () => {
  expect(["changed", "header-too-large", "half-written"].every(isOfInstall)).toBe(true);
  expect(["lost", "forged", "not-loaded", "other"].some(isOfInstall)).toBe(false);
});

test("every reason for which notes cannot be adopted has a class of its own", async () => {
  const sources = await Promise.all(
    ["per-cpu", "kernel"].map((name) =>
      readFile(new URL(`../../../src/image/${name}.ts`, import.meta.url), "utf8"),
    ),
  );
  const sentences = sources.flatMap((source) =>
    [...source.matchAll(/(?:unknown\(|reason: )["`](.+?)["`]/g)].map(([, text]) => text!),
  );
  expect(sentences.length).toBeGreaterThanOrEqual(5);
  const classes = sentences.map(adoptReason);
  expect(classes).not.toContain("other");
  expect(new Set(classes).size).toBe(sentences.length);
  expect(adoptReason("something new")).toBe("other");
});
