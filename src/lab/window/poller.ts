/** The host's end of the watching thread. */
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { u64 } from "../../image/bytes.ts";
import type { GuestMemory } from "../../targets/qemu/memory.ts";
import { MeasurementError } from "../errors.ts";
import { CONTROL, type Observation, poll, type PollPiece, type PollPlan } from "./poll.ts";
import type { WatchedPlaces } from "./symbols.ts";

/** Often enough for windows of a millisecond, seldom enough to leave the processor to the guest (5 % of a core). */
const INTERVAL_MS = 0.2;

/**
 * The thread is made from the loop's own text, so that it runs alike from source and as built: a worker's file would
 * have to be found, and from source could not be loaded. On Linux setpriority(2) of 0 is for the calling thread alone;
 * who may not raise it sees longer gaps while the guest uses all processors, and says so.
 */
const WORKER = `
const fs = require("node:fs");
const os = require("node:os");
const { parentPort, receiveMessageOnPort, workerData } = require("node:worker_threads");
const poll = ${poll.toString()};
try {
  os.setPriority(0, -10);
} catch {}
parentPort.postMessage(poll(workerData, {
  open: (path) => fs.openSync(path, "r"),
  read: (fd, into, length, position) => fs.readSync(fd, into, 0, length, position),
  close: (fd) => fs.closeSync(fd),
  now: () => Number(process.hrtime.bigint()) / 1e6,
  receive: () => receiveMessageOnPort(parentPort)?.message ?? [],
}));
`;

/** Pieces in ascending order: what is added lies above all that was there. */
function piecesOf(memory: WatchedMemory): readonly PollPiece[] {
  return memory.directPieces.map(({ path, start, end, offset }) => ({
    path,
    start,
    end,
    shift: offset - start,
  }));
}

/** The clock of every observation: the host's monotonic one, milliseconds. */
export function hostNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What is needed of a guest's memory. */
export type WatchedMemory = Pick<GuestMemory, "directPieces" | "read">;

/** Watches one guest's RAM from outside. Stop it. */
export class WindowPoller implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #control: Int32Array;
  readonly #observation: Promise<Observation>;
  /** How many the thread has been told of. */
  #pieces: number;

  private constructor(worker: Worker, control: Int32Array, pieces: number) {
    this.#pieces = pieces;
    this.#worker = worker;
    this.#control = control;
    this.#observation = new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(new MeasurementError("The watching thread ended before it was told")));
    });
    // Whoever stops it is told.
    this.#observation.catch(() => undefined);
  }

  /**
   * Starts watching `places` in the guest's shared RAM file, and waits for the first look.
   *
   * @throws {MeasurementError} where its RAM is in none; the file system's error where that cannot be read.
   */
  static async start(memory: WatchedMemory, places: WatchedPlaces): Promise<WindowPoller> {
    const pieces = piecesOf(memory);
    if (!pieces.some(({ start, end }) => start <= places.image && places.image < end))
      throw new MeasurementError(
        "The guest's RAM is in no shared file, so it cannot be watched from outside",
      );
    const pageOffset = u64(await memory.read(places.pageOffsetBase, 8), 0);
    const control = new Int32Array(new SharedArrayBuffer(CONTROL.words * 4));
    const { image, lock, lockKind, pages } = places;
    const plan: PollPlan = {
      pieces,
      image,
      lock,
      lockKind,
      pages,
      pageOffset,
      intervalMs: INTERVAL_MS,
      control,
    };
    const worker = new Worker(WORKER, { eval: true, workerData: plan });
    const poller = new WindowPoller(worker, control, pieces.length);
    // The first look says what memory there is: before, nothing may be plugged.
    while (poller.pages === 0) await Promise.race([delay(5), poller.#observation]);
    return poller;
  }

  /** Has it look into memory that was added as well. */
  follow(memory: WatchedMemory): void {
    const all = piecesOf(memory);
    this.#worker.postMessage(all.slice(this.#pieces), []);
    this.#pieces = all.length;
    Atomics.add(this.#control, CONTROL.pieces, 1);
  }

  /** Pages that the guest's kernel manages now. */
  get pages(): number {
    return Atomics.load(this.#control, CONTROL.pages);
  }

  /** Ends the watching and gives what was seen. */
  async stop(): Promise<Observation> {
    Atomics.store(this.#control, CONTROL.stop, 1);
    Atomics.notify(this.#control, CONTROL.stop);
    return this.#observation;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
