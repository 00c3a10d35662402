/** What one line of QMP says (QEMU docs/interop/qmp-spec.rst, sections 2.2 to 2.5). */
import { QmpProtocolError } from "./qmp-errors.ts";
import { parseQmp } from "./qmp-json.ts";

/** Something that happened in QEMU (qapi: `EVENT`). `timestamp` is QEMU's host clock. */
export interface QmpEvent {
  readonly event: string;
  readonly data: unknown;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** A line, understood. `id` is whatever the peer sent; a command's is a number. */
export type QmpMessage =
  | { readonly kind: "greeting" }
  | { readonly kind: "event"; readonly event: QmpEvent }
  | { readonly kind: "result"; readonly id: unknown; readonly value: unknown }
  | { readonly kind: "error"; readonly id: unknown; readonly class: string; readonly desc: string };

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads one line. @throws {QmpProtocolError} where it is no message that QMP has. */
export function decodeMessage(line: string): QmpMessage {
  let message: unknown;
  try {
    message = parseQmp(line);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new QmpProtocolError(`Line is not JSON: ${error.message}`, { cause: error });
  }
  if (!isRecord(message)) throw new QmpProtocolError("Message is not a JSON object");
  if (Object.hasOwn(message, "event")) return { kind: "event", event: eventOf(message) };
  if (Object.hasOwn(message, "return")) {
    return { kind: "result", id: message["id"], value: message["return"] };
  }
  const error = message["error"];
  if (isRecord(error) && typeof error["class"] === "string" && typeof error["desc"] === "string") {
    return { kind: "error", id: message["id"], class: error["class"], desc: error["desc"] };
  }
  if (isRecord(message["QMP"])) return { kind: "greeting" };
  throw new QmpProtocolError("Message is neither a greeting, an event, a result nor an error");
}

function eventOf(message: Readonly<Record<string, unknown>>): QmpEvent {
  const { event, data, timestamp } = message;
  if (typeof event !== "string" || !isRecord(timestamp)) {
    throw new QmpProtocolError("Event without a name or time");
  }
  const { seconds, microseconds } = timestamp;
  if (typeof seconds !== "number" || typeof microseconds !== "number") {
    throw new QmpProtocolError(`Event "${event}" has no time in seconds and microseconds`);
  }
  return { event, data: data ?? {}, timestamp: { seconds, microseconds } };
}
