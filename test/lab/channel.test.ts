import { setTimeout as delay } from "node:timers/promises";
import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { AgentProtocolError } from "../../src/lab/agent.ts";
import { AgentChannel } from "../../src/lab/channel.ts";
import { GuestCommandError, LostGuestError } from "../../src/lab/errors.ts";
import { startPeer } from "../targets/qemu/fake-qmp.ts";

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

/** A channel to an agent that does what `answer` says to each line that it gets. */
async function channelTo(
  greeting: string,
  answer: (line: string, socket: Socket) => void = () => undefined,
): Promise<AgentChannel> {
  const peer = await startPeer((socket) => {
    socket.write(greeting);
    let text = "";
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString();
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        answer(text.slice(0, end), socket);
        text = text.slice(end + 1);
      }
    });
  });
  cleanUps.push(peer.stop);
  const channel = await AgentChannel.connect(peer.path, undefined);
  cleanUps.push(async () => channel[Symbol.asyncDispose]());
  return channel;
}

const HELLO = "hello guest 6.1.0\n";
const idOf = (line: string): string => line.split(" ")[0]!;

describe("a channel to an agent", () => {
  it("waits for its hello, also one that came before it was asked for", async () => {
    const channel = await channelTo(HELLO);
    await delay(20);
    expect(await channel.hello("guest", 1000)).toBe("6.1.0");
  });

  it("runs commands, and tells their status and output", async () => {
    const channel = await channelTo(HELLO, (line, socket) => {
      socket.write(line.endsWith("false") ? `reply ${idOf(line)} 1 5\nwrong` : `reply ${idOf(line)} 0 2\nok`);
    });
    expect(await channel.output("true")).toBe("ok");
    expect((await channel.run("false")).status).toBe(1);
    await expect(channel.output("false")).rejects.toThrow(GuestCommandError);
    await expect(channel.output("false")).rejects.toThrow('In the guest, "false" ended with status 1: wrong');
  });

  it("gives each command its own answer, in whatever order they come", async () => {
    const lines: string[] = [];
    const channel = await channelTo(HELLO, (line, socket) => {
      lines.push(line);
      if (lines.length === 2) {
        for (const each of lines.toReversed()) socket.write(`reply ${idOf(each)} 0 1\n${idOf(each)}`);
      }
    });
    expect(await Promise.all([channel.output("a"), channel.output("b")])).toEqual(["1", "2"]);
  });

  it("does not take another command's answer, and says for what it waited in vain", async () => {
    const channel = await channelTo(HELLO, (_line, socket) => void socket.write("reply 77 0 1\nx"));
    await expect(channel.run("uptime", 100)).rejects.toThrow(
      'The guest did not answer within 0.1 s; waited for the end of "uptime"',
    );
  });

  it("does not take the first kernel's hello for the capture kernel's", async () => {
    const channel = await channelTo(HELLO);
    await expect(channel.hello("capture", 100)).rejects.toThrow(/waited for the capture kernel's shell/);
  });

  it("finishes with the guest's last word, and not without it", async () => {
    const channel = await channelTo(HELLO, (line, socket) => {
      if (line === "finish") socket.write("done guest\n");
    });
    await channel.finish("guest");
    const cut = await channelTo(HELLO, (_line, socket) => void socket.end("don"));
    await expect(cut.finish("guest")).rejects.toThrow(LostGuestError);
  });
});

describe("an agent that misbehaves", () => {
  it("by hanging up in the middle of an answer loses the guest, for good", async () => {
    const channel = await channelTo(
      HELLO,
      (line, socket) => void socket.end(`reply ${idOf(line)} 0 100\nhalf`),
    );
    await expect(channel.run("x", 5000)).rejects.toThrow(/serial line was closed: QEMU has ended/);
    await expect(channel.run("x", 5000)).rejects.toThrow(LostGuestError);
    await expect(channel.hello("capture", 5000)).rejects.toThrow(LostGuestError);
  });

  it.each([
    ["garbage", "[ 1.0] Kernel panic\n"],
    ["a line without an end", "x".repeat(2000)],
    ["an answer that claims to be huge", "reply 1 0 999999999\n"],
  ])("by sending %s ends every wait with what was read", async (_what, bytes) => {
    const channel = await channelTo(HELLO, (_line, socket) => void socket.write(bytes));
    const waits = [channel.run("a", 5000), channel.run("b", 5000), channel.hello("capture", 5000)];
    for (const result of await Promise.allSettled(waits)) {
      expect(result).toMatchObject({ status: "rejected", reason: expect.any(AgentProtocolError) });
    }
  });

  it("cannot end the wait for a channel that was given up for another reason", async () => {
    const channel = await channelTo(HELLO);
    const wait = channel.hello("capture", 5000);
    channel.lose(new LostGuestError("KVM failed"));
    channel.lose(new LostGuestError("later"));
    await expect(wait).rejects.toThrow("KVM failed");
    await expect(channel.run("x")).rejects.toThrow("KVM failed");
  });
});

describe("connecting", () => {
  it("ends at once when the run is interrupted", async () => {
    const controller = new AbortController();
    const connecting = AgentChannel.connect("/nonexistent/agent.sock", controller.signal);
    const started = performance.now();
    controller.abort(new Error("Interrupted"));
    await expect(connecting).rejects.toThrow("Interrupted");
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
