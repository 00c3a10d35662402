import { describe, expect, it } from "vitest";
import { ending, EXIT, exitOfError, exitOfVerdict, mainError, UsageError } from "../../src/cli/exit.ts";
import { CoreHeaderError } from "../../src/elfcore/error.ts";
import { decodeCoreHeader } from "../../src/elfcore/decode.ts";
import { ImageError } from "../../src/image/error.ts";
import { GuestCommandError, LostGuestError, MeasurementError } from "../../src/lab/errors.ts";
import { SupplyError } from "../../src/lab/fetch/errors.ts";
import { PlugSizeError, UnfinishedPlugError } from "../../src/keeper/plug.ts";
import { KeeperBusyError } from "../../src/targets/qemu/keeper-lock.ts";
import { PlugError } from "../../src/targets/qemu/plug.ts";
import { RunStateError } from "../../src/targets/qemu/run-state.ts";
import { HeaderFileError } from "../../src/targets/file.ts";
import { GdbClosedError } from "../../src/targets/qemu/gdb-remote.ts";
import {
  QmpClosedError,
  QmpCommandError,
  QmpConnectError,
  QmpTimeoutError,
} from "../../src/targets/qemu/qmp-errors.ts";
import { TargetError } from "../../src/targets/target.ts";

function thrown(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("Nothing was thrown");
}

const dimm = { id: "kdh-mem0", size: 1n << 30n };
const closed = new QmpClosedError("QEMU has ended");

describe("an exit code", () => {
  it.each([
    ["accurate", 0],
    ["inaccurate", 1],
    ["broken", 1],
    ["not-loaded", 3],
    ["unknown", 3],
  ] as const)("of the verdict %s is %i", (verdict, code) => {
    expect(exitOfVerdict(verdict)).toBe(code);
  });

  it.each([
    ["wrong usage", new UsageError("x"), EXIT.usage],
    ["a bad target", new TargetError("x"), EXIT.usage],
    ["a file without a header", new HeaderFileError("x"), EXIT.usage],
    ["a bad header", thrown(() => decodeCoreHeader(new Uint8Array(10))), EXIT.usage],
    ["missing supplies", new SupplyError([]), EXIT.usage],
    ["no socket", new QmpConnectError("absent", "/x", "x"), EXIT.usage],
    ["no QMP", new QmpConnectError("not-qmp", "/x", "x"), EXIT.usage],
    ["a busy socket", new QmpConnectError("busy", "/x", "x"), EXIT.unknown],
    ["no permission", new QmpConnectError("denied", "/x", "x"), EXIT.unknown],
    ["QEMU's end", closed, EXIT.lost],
    ["QEMU's silence", new QmpTimeoutError("x", 1), EXIT.lost],
    ["a lost lab guest", new LostGuestError("x"), EXIT.lost],
    ["nothing loaded", new ImageError("not-loaded", "x"), EXIT.unknown],
    ["a wrong header address", new ImageError("not-a-core-header", "x"), EXIT.usage],
    ["no room", new ImageError("header-too-large", "x"), EXIT.no],
    ["a bad DIMM size", new PlugSizeError("x"), EXIT.usage],
    ["no free slot", new PlugError("x"), EXIT.no],
    ["a DIMM without its header", new UnfinishedPlugError(dimm, false, new Error("x")), EXIT.no],
    ["a DIMM in a guest that was lost", new UnfinishedPlugError(dimm, false, closed), EXIT.lost],
    ["a second keeper", new KeeperBusyError("x"), EXIT.unknown],
    ["a run that could not be measured", new MeasurementError("x"), EXIT.unknown],
    ["a failed command in the guest", new GuestCommandError("false", 1, ""), EXIT.no],
    ["a refused QMP command", new QmpCommandError("stop", "GenericError", "x"), EXIT.unknown],
    ["a missing file", Object.assign(new Error("x"), { code: "ENOENT" }), EXIT.usage],
    ["a file that may not be read", Object.assign(new Error("x"), { code: "EACCES" }), EXIT.unknown],
    ["what is no error", "x", EXIT.unknown],
  ])("of %s", (_what, error, code) => {
    expect(exitOfError(error)).toBe(code);
  });

  it("of a bad header is meant: decoding throws that kind", () => {
    expect(thrown(() => decodeCoreHeader(new Uint8Array(10)))).toBeInstanceOf(CoreHeaderError);
  });
});

describe("the main one of several errors", () => {
  it("is the error itself where it is alone", () => {
    expect(mainError(closed)).toBe(closed);
    expect(mainError("x")).toBe("x");
  });

  it("is the loss of the guest, wherever that stands", () => {
    const gdb = new GdbClosedError("gdbstub closed the connection");
    expect(mainError(new AggregateError([gdb, closed]))).toBe(closed);
    expect(mainError(new AggregateError([new AggregateError([gdb, new Error("x")]), closed]))).toBe(closed);
  });

  it("is what was left half done, ahead of the loss of the guest", () => {
    for (const half of [
      new ImageError("half-written", "A write failed and could not be undone"),
      new UnfinishedPlugError(dimm, false, new Error("x")),
      new RunStateError("x"),
    ]) {
      expect(mainError(new AggregateError([half, closed]))).toBe(half);
      expect(mainError(new AggregateError([closed, half]))).toBe(half);
    }
    const done = new UnfinishedPlugError(dimm, true, closed);
    expect(mainError(new AggregateError([done, closed]))).toBe(closed);
  });

  it("is the first where none is a loss", () => {
    const [first, second] = [new Error("first"), new Error("second")];
    expect(mainError(new AggregateError([first, second]))).toBe(first);
    // What `await using` throws: `error` came while `suppressed` was on its way.
    const suppressed = Object.assign(new Error("x"), { error: second, suppressed: first });
    suppressed.name = "SuppressedError";
    expect(mainError(suppressed)).toBe(first);
  });
});

describe("an interrupted command", () => {
  const plugged = new UnfinishedPlugError(dimm, false, closed);
  const half = new ImageError("half-written", "A write failed and could not be undone");

  it("says that nothing was left half done where that is so", () => {
    for (const error of [closed, new AggregateError([new Error("x"), closed])])
      expect(ending(error, true)).toEqual({
        text: "Interrupted; nothing was left half done",
        code: EXIT.interrupted,
      });
    // The DIMM is listed on stdout, and its header was written.
    expect(ending(new UnfinishedPlugError(dimm, true, closed), true)).toMatchObject({ code: 130 });
  });

  it("tells what was left half done", () => {
    expect(ending(half, true)).toEqual({ text: half.message, code: EXIT.unknown });
    expect(ending(plugged, true)).toEqual({ text: plugged.message, code: EXIT.interrupted });
    expect(ending(new AggregateError([closed, half]), true).text).toContain(half.message);
    expect(ending(new RunStateError("Guest is paused"), true).text).toBe("Guest is paused");
  });

  it("is told apart from one that lost its guest, which says both", () => {
    expect(ending(new AggregateError([half, closed]), false)).toEqual({
      text: `${half.message}; and the guest was lost: ${closed.message}`,
      code: EXIT.lost,
    });
    expect(ending(plugged, false)).toEqual({ text: plugged.message, code: EXIT.lost });
  });
});
