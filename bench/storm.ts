/**
 * A storm of uevents at the agent, natively: 480 GiB come to a machine of 32 GiB, which has 4,096 memory blocks then, and
 * this host's kernel tells of 3,840 devices by netlink as fast as it can. The agent is the real one; the machine that it
 * looks at is simulated (files in a temporary directory, system calls that the simulation carries out).
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import { watch } from "../src/keeper/watch.ts";
import { parseSpec, buildMachine } from "../src/simulation/spec.ts";
import { RootTree } from "../src/targets/local/tree.ts";
import { watchUevents } from "../src/targets/local/watch-uevents.ts";
import { nodeSha256 } from "../src/targets/sha256.ts";
import { InsideSim } from "../test/targets/local/inside-sim.ts";
import { type Findings, measured } from "./stats.ts";

/** Blocks of 128 MiB that come. */
const EVENTS = 3840;
const DEVICE = "/sys/devices/system/memory/memory0/uevent";
const STORMS = 5;
const LIMIT_MS = 60_000;

/** Writes as many events as it is told and prints when, by CLOCK_MONOTONIC, it began and was done. */
const SENDER = `
  const { openSync, writeSync } = require("node:fs");
  const fd = openSync(${JSON.stringify(DEVICE)}, "w");
  const now = () => Number(process.hrtime.bigint()) / 1e6;
  const began = now();
  for (let i = 0; i < ${EVENTS}; i++) writeSync(fd, "change", 0);
  console.log(JSON.stringify([began, now()]));`;

/** As cheap to find a file in as the root directory itself: there are no links in it. */
class UnlinkedTree extends RootTree {
  override async locate(path: string): Promise<string> {
    return `${this.root}${path}`;
  }
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Each storm is a machine of its own, so that each begins with the same header. */
export async function benchStorm(log: (line: string) => void): Promise<Findings> {
  try {
    await access(DEVICE, constants.W_OK);
  } catch {
    return {
      measurements: [],
      lines: [`No storm of uevents: ${DEVICE} cannot be written here (run as root)`],
    };
  }
  const accurate: number[] = [];
  const simulated: number[] = [];
  const sending: number[] = [];
  const installs: number[] = [];
  let overruns = 0;
  for (let i = 0; i < STORMS; i++) {
    log(`storm ${i + 1} of ${STORMS}`);
    const storm = await one();
    accurate.push(storm.accurateMs);
    simulated.push(storm.simulatedMs);
    sending.push(storm.sendingMs);
    installs.push(storm.installs);
    overruns += storm.overruns;
  }
  return {
    measurements: [
      measured(`${EVENTS} uevents, first one to header in force, 4,096 blocks`, accurate, {
        of: "p99",
        ms: 50,
      }),
      measured("of which the simulated kernel's own time in the system call", simulated),
      measured(`${EVENTS} uevents, first one to last one sent`, sending),
    ],
    lines: [
      `Installs a storm: ${Math.min(...installs)} to ${Math.max(...installs)} (asked: at most 20); events lost for want of room: ${overruns} times`,
    ],
  };
}

interface Storm {
  readonly accurateMs: number;
  readonly simulatedMs: number;
  readonly sendingMs: number;
  readonly installs: number;
  readonly overruns: number;
}

async function one(): Promise<Storm> {
  const simulated = buildMachine(parseSpec("6.1,ram=32G"), nodeSha256);
  await using sim = await InsideSim.of(simulated, (root) => new UnlinkedTree(root, true));
  // What makes the first plan slow (all that has to be read and hashed once) is over before the storm, as in life.
  await sim.update();
  const stop = new AbortController();
  const heard = new AbortController();
  const installedAt: number[] = [];
  let simulatedMs = 0;
  let calledAt = 0;
  sim.hooks.before = () => void (calledAt = now());
  sim.hooks.after = () => void (simulatedMs += now() - calledAt);
  let counters = { overruns: 0 };
  const machine = {
    onChange: (changed: () => void): Disposable => {
      let isFirst = true;
      const events = watchUevents({
        onChange: () => {
          // The first one only says that it listens.
          if (isFirst) heard.abort();
          else changed();
          isFirst = false;
        },
        onTrouble: (trouble) => stop.abort(new Error(trouble)),
      });
      if (events.source === "timer") throw new Error("Cannot measure: uevents cannot be heard by netlink");
      counters = events.counters;
      return events;
    },
  };
  const watching = watch(machine, sim.keeper, {
    signal: stop.signal,
    // Only events are to wake it.
    lookEveryMs: 10 * LIMIT_MS,
    onEvent: ({ kind }) => {
      if (kind === "installed") installedAt.push(now());
    },
  });
  watching.catch(() => undefined);
  await delay(LIMIT_MS, undefined, { signal: heard.signal }).catch(() => undefined);
  await delay(1000);
  sim.machine.plugDimm(480n << 30n);
  await sim.refresh();
  const sender = spawn(process.execPath, ["-e", SENDER], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  sender.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
  await once(sender, "close");
  const [began, done] = v.parse(v.tuple([v.number(), v.number()]), JSON.parse(said));
  // Long enough for whatever the last event still asks for.
  for (const deadline = now() + LIMIT_MS; installedAt.length === 0 && now() < deadline;) await delay(20);
  await delay(1500);
  stop.abort();
  await watching.catch((error: unknown) => {
    if (!(stop.signal.reason instanceof DOMException)) throw error;
  });
  const [first] = installedAt;
  if (first === undefined) throw new Error("Cannot measure: no header was installed");
  const outcome = sim.machine.judge().outcome;
  if (outcome !== "complete") throw new Error(`Cannot measure: a panic after the storm gives ${outcome}`);
  return {
    accurateMs: first - began,
    simulatedMs,
    sendingMs: done - began,
    installs: installedAt.length,
    overruns: counters.overruns,
  };
}
