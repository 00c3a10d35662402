/**
 * `npm run fuzz -- [--seconds N] [--seed S] [--reader NAME [--input N]]`: long seeded runs, or one input again.
 *
 * Readers run in a thread; this one watches it, so that a reader that does not end is found too. It ends with 0 where
 * nothing was found, 1 at a find, 2 for a wrong option, 130 where it was interrupted.
 */
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { columns } from "../../src/report/text.ts";
import { removeDirectories } from "./directory.ts";
import { inputOf } from "./mutate.ts";
import { READERS } from "./readers/all.ts";
import type { Find, ReaderCount } from "./run.ts";
import type { WorkerData, WorkerMessage } from "./worker.ts";

/** An input that takes this long by the clock does not end: each may take 2 s of processor time. */
const HANG_MS = 20_000;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

function options(): {
  readonly seconds: number;
  readonly seed: number;
  readonly reader: string | undefined;
  readonly input: number | undefined;
} {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "1" },
      reader: { type: "string" },
      input: { type: "string" },
    },
  });
  const number = (name: "seconds" | "seed" | "input"): number => {
    const text = values[name] ?? "";
    if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} is "${text}", expected a whole number`);
    return Number(text);
  };
  if (values.reader !== undefined && !READERS.some(({ name }) => name === values.reader))
    throw new Error(
      `--reader is "${values.reader}", expected one of ${READERS.map(({ name }) => name).join(", ")}`,
    );
  if (values.input !== undefined && values.reader === undefined) throw new Error("--input needs --reader");
  return {
    seconds: number("seconds"),
    seed: number("seed"),
    reader: values.reader,
    input: values.input === undefined ? undefined : number("input"),
  };
}

function showFind({ reader, seed, number, input, what }: Find): void {
  say(`\n${reader} did not survive input ${number} of seed ${seed} (${input.length} bytes): ${what}`);
  say(`Input, base64: ${Buffer.from(input).toString("base64").slice(0, 4000)}`);
  say(`Again: npm run fuzz -- --seed ${seed} --reader ${reader} --input ${number}`);
}

async function main(): Promise<number> {
  let wanted: ReturnType<typeof options>;
  try {
    wanted = options();
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 2;
  }
  const names = READERS.map(({ name }) => name).filter(
    (name) => wanted.reader === undefined || name === wanted.reader,
  );
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const data: WorkerData = {
    names,
    seed: wanted.seed,
    milliseconds: wanted.seconds * 1000,
    input: wanted.input,
    progress,
  };
  const worker = new Worker(new URL("worker.js", import.meta.url), { workerData: data });
  const counts: ReaderCount[] = [];
  const finds: Find[] = [];
  /** A find in the input that the worker is at. */
  const underWay = (what: string): Find => {
    const reader = READERS.find(({ name }) => name === names[Atomics.load(progress, 0)])!;
    const number = Atomics.load(progress, 1);
    const input = inputOf(reader, wanted.seed, number);
    return { reader: reader.name, seed: wanted.seed, number, input, what };
  };
  const status = await new Promise<number>((resolve) => {
    let last = "";
    let since = performance.now();
    const watch = setInterval(() => {
      const now = `${Atomics.load(progress, 0)} ${Atomics.load(progress, 1)}`;
      if (now !== last) [last, since] = [now, performance.now()];
      if (performance.now() - since < HANG_MS) return;
      const what = `it has not ended after ${HANG_MS / 1000} s`;
      finds.push(underWay(what));
      resolve(1);
    }, 500);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve(130));
    worker.on("message", ({ count, find }: WorkerMessage) => {
      counts.push(count);
      if (find) finds.push(find);
      say(
        `${count.reader}: ${count.inputs} inputs, ${count.refused} refused, slowest ${count.slowestMs.toFixed(1)} ms${find ? ", FOUND SOMETHING" : ""}`,
      );
    });
    worker.on("error", (error) => {
      const what = `an error that nobody caught: ${error instanceof Error ? error.stack : String(error)}`;
      finds.push(underWay(what));
      resolve(1);
    });
    worker.on("exit", () => resolve(counts.length === names.length && finds.length === 0 ? 0 : 1));
    void new Promise<void>((done) => worker.once("exit", () => done())).then(() => clearInterval(watch));
  });
  await worker.terminate();
  removeDirectories();
  finds.forEach(showFind);
  const total = counts.reduce((sum, { inputs }) => sum + inputs, 0);
  process.stdout.write(
    columns([
      ["reader", "inputs", "refused", "slowest ms"],
      ...counts.map(({ reader, inputs, refused, slowestMs }) => [
        reader,
        String(inputs),
        String(refused),
        slowestMs.toFixed(1),
      ]),
      ["all", String(total), "", ""],
    ]),
  );
  say(
    status === 130
      ? "Interrupted"
      : `Seed ${wanted.seed}: ${finds.length === 0 ? "nothing found" : `${finds.length} found`}`,
  );
  return status;
}

process.exitCode = await main();
