/** Errors of a QMP connection. Each class says at which moment it is raised. */
import type { AbsenceMark, LossMark } from "../../keeper/machine.ts";

/** Anything that goes wrong between us and a QMP socket. */
export class QmpError extends Error {
  override readonly name: string = "QmpError";
}

/**
 * What stood in the way of a connection:
 * `absent` no such socket; `refused` a socket file that nobody listens on; `not-qmp` something answers that
 * is not QMP; `busy` another client holds it; `not-a-socket` a file of another kind; `denied` no permission.
 */
export type QmpConnectErrorKind = "absent" | "refused" | "not-qmp" | "busy" | "not-a-socket" | "denied";

/** Raised by `QmpClient.connect` only: no usable QMP session came about. */
export class QmpConnectError extends QmpError implements AbsenceMark {
  override readonly name: string = "QmpConnectError";
  readonly kind: QmpConnectErrorKind;
  readonly path: string;
  readonly machineAbsent: boolean;

  constructor(kind: QmpConnectErrorKind, path: string, sentence: string, options?: ErrorOptions) {
    super(sentence, options);
    this.kind = kind;
    this.path = path;
    this.machineAbsent = kind === "absent" || kind === "refused";
  }
}

/** Raised when QEMU answered a command with an error: the command had no effect that QEMU admits to. */
export class QmpCommandError extends QmpError {
  override readonly name: string = "QmpCommandError";
  readonly command: string;
  /** QEMU's error class, nearly always `GenericError`. */
  readonly class: string;
  /** QEMU's own words. */
  readonly desc: string;

  constructor(command: string, errorClass: string, desc: string) {
    super(`QEMU refused "${command}": ${desc} (${errorClass})`);
    this.command = command;
    this.class = errorClass;
    this.desc = desc;
  }
}

/** Raised for every command and wait that is pending when the connection ends, and for every later one. */
export class QmpClosedError extends QmpError implements LossMark {
  override readonly name: string = "QmpClosedError";
  readonly machineLost = true;
}

/** Raised when an answer or an event did not come in time. The connection stays usable. */
export class QmpTimeoutError extends QmpError implements LossMark {
  override readonly name: string = "QmpTimeoutError";
  readonly machineLost = true;
  readonly machineSilent = true;
  readonly timeoutMs: number;

  constructor(sentence: string, timeoutMs: number) {
    super(sentence);
    this.timeoutMs = timeoutMs;
  }
}

/** The peer sent what QMP does not allow. Ends the connection; found as the `cause` of a `QmpClosedError`. */
export class QmpProtocolError extends QmpError {
  override readonly name: string = "QmpProtocolError";
}

/** Raised when QEMU's answer to a command has another shape than that command's schema. */
export class QmpReplyError extends QmpError {
  override readonly name: string = "QmpReplyError";
  readonly command: string;

  constructor(command: string, problem: string) {
    super(`QEMU's answer to "${command}" cannot be used: ${problem}; check that this QEMU is 5.2 or newer`);
    this.command = command;
  }
}

/** The error of one call that a connection's end has met. @param what it did to the call, one clause. */
export function closedDuring(what: string, reason: QmpClosedError): QmpClosedError {
  const cause = reason.cause === undefined ? {} : { cause: reason.cause };
  return new QmpClosedError(`${reason.message} (${what})`, cause);
}

/**
 * Gives `error` the stack of the place where the call was made.
 *
 * An error that is created while a socket delivers data has a stack that names only the event loop.
 *
 * @param at an `Error` that was created when the call was made.
 */
export function withCallSite<E extends Error>(error: E, at: Error): E {
  const frames = at.stack?.split("\n").slice(1).join("\n") ?? "";
  error.stack = `${error.name}: ${error.message}\n${frames}`;
  return error;
}
