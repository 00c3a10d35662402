import { describe, expect, it } from "vitest";
import { type AgentMessage, AgentParser, AgentProtocolError } from "../../src/lab/agent.ts";

/** What a guest sends, with an answer that looks like the protocol itself. */
const OUTPUT = Buffer.from("done guest\n\0\xff\nreply 9 0 3\n", "latin1");
const STREAM = Buffer.concat([
  Buffer.from("hello guest 6.1.0-50-cloud-amd64\n"),
  Buffer.from(`reply 1 0 ${OUTPUT.length}\n`),
  OUTPUT,
  Buffer.from("reply 2 255 0\nhello capture 6.1.0\nreply 3 1 1\nxdone capture\n"),
]);
const MESSAGES: readonly AgentMessage[] = [
  { kind: "hello", role: "guest", release: "6.1.0-50-cloud-amd64" },
  { kind: "reply", id: 1, status: 0, output: new Uint8Array(OUTPUT) },
  { kind: "reply", id: 2, status: 255, output: new Uint8Array() },
  { kind: "hello", role: "capture", release: "6.1.0" },
  { kind: "reply", id: 3, status: 1, output: new Uint8Array(Buffer.from("x")) },
  { kind: "done", role: "capture" },
];

function drain(parser: AgentParser): AgentMessage[] {
  const messages: AgentMessage[] = [];
  for (let message = parser.tryRead(); message; message = parser.tryRead()) {
    messages.push(
      message.kind === "reply" ? { ...message, output: new Uint8Array(message.output) } : message,
    );
  }
  return messages;
}

function readAll(...pieces: readonly Uint8Array[]): readonly AgentMessage[] {
  const parser = new AgentParser();
  return pieces.flatMap((piece) => {
    parser.append(piece);
    return drain(parser);
  });
}

describe("the agent's messages", () => {
  it("are read from one piece", () => {
    expect(readAll(STREAM)).toEqual(MESSAGES);
  });

  it("are read alike, wherever the stream is split in two", () => {
    for (let at = 0; at <= STREAM.length; at++) {
      expect(readAll(STREAM.subarray(0, at), STREAM.subarray(at))).toEqual(MESSAGES);
    }
  });

  it("are read alike byte by byte", () => {
    expect(readAll(...[...STREAM].map((byte) => Uint8Array.of(byte)))).toEqual(MESSAGES);
  });

  it("own their bytes: what comes later does not change them", () => {
    const parser = new AgentParser();
    const piece = Buffer.from("reply 1 0 3\nabc");
    parser.append(piece);
    const message = parser.tryRead();
    piece.fill(0);
    parser.append(Buffer.from("reply 2 0 3\nxyz"));
    expect(message?.kind === "reply" && Buffer.from(message.output).toString()).toBe("abc");
  });

  it("that are not whole yet are waited for", () => {
    for (const text of ["", "hello guest 6.1", "reply 1 0 5", "reply 1 0 5\n", "reply 1 0 5\nabcd"]) {
      expect(readAll(Buffer.from(text))).toEqual([]);
    }
  });
});

describe("a line that is none of the protocol's", () => {
  it.each([
    "",
    "hello",
    "hello root 6.1",
    "hello guest 6.1 more",
    "done",
    "done root",
    "reply 1 0",
    "reply x 0 1",
    "reply -1 0 1",
    "reply 1 1000 1",
    "reply 1 0 1 1",
    "reply 1 0 16777217",
    "reply 1 0 999999999999",
    "[    1.0] Kernel panic - not syncing",
    "\0\xff\x80",
  ])("%j is refused", (line) => {
    expect(() => readAll(Buffer.from(`${line}\n`, "latin1"))).toThrow(AgentProtocolError);
  });

  it("is quoted, but not at any length", () => {
    const noise = `${"x".repeat(400)}\n`;
    expect(() => readAll(Buffer.from(noise))).toThrow(
      /^Read "x{80}" from the guest, expected hello, reply or done$/,
    );
  });

  it("is refused before its end once it is too long", () => {
    expect(() => readAll(Buffer.alloc(513, "x"))).toThrow(
      /^Read 513 bytes from the guest without a line in them$/,
    );
  });
});
