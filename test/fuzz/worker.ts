/** The thread in which readers run. It says before each input which one it is. */
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { READERS } from "./readers/all.ts";
import { type Find, fuzzReader, type ReaderCount, tryInput } from "./run.ts";

/** What the thread is given. */
export interface WorkerData {
  /** Readers, in the order in which they run. */
  readonly names: readonly string[];
  readonly seed: number;
  /** For all readers. */
  readonly milliseconds: number;
  /** This input only. */
  readonly input: number | undefined;
  /** Shared: the reader's place in `names`, and the input's number. */
  readonly progress: Int32Array;
}

/** What the thread says, once for each reader. */
export interface WorkerMessage {
  readonly count: ReaderCount;
  readonly find: Find | undefined;
}

async function work({ names, seed, milliseconds, input, progress }: WorkerData): Promise<void> {
  const readers = names.flatMap((name) => READERS.filter((each) => each.name === name));
  const shares = readers.reduce((sum, { share = 1 }) => sum + share, 0);
  for (const [place, reader] of readers.entries()) {
    const { name, share = 1 } = reader;
    const before = (number: number): void => {
      Atomics.store(progress, 0, place);
      Atomics.store(progress, 1, number);
    };
    let message: WorkerMessage;
    if (input === undefined) {
      message = await fuzzReader(
        reader,
        seed,
        { inputs: Number.MAX_SAFE_INTEGER, milliseconds: (milliseconds * share) / shares },
        before,
      );
    } else {
      before(input);
      const { find, refused, ms } = await tryInput(reader, seed, input);
      message = { count: { reader: name, inputs: 1, refused: refused ? 1 : 0, slowestMs: ms }, find };
    }
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origins
    parentPort?.postMessage(message);
  }
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- main.ts is the only one that starts this thread
if (!isMainThread) await work(workerData as WorkerData);
