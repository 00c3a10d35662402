/** Makes inputs from well-formed ones: the same for the same seed, reader and number. */
import { seededRandom } from "../../src/simulation/random.ts";
import type { FuzzedReader } from "./reader.ts";

/** Inputs grow to at most this, except where a corpus has larger ones: a reader's limits are what is looked for. */
const MAX_GROWTH = 64 * 1024;

const INTERESTING: readonly bigint[] = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0xfffen,
  0xffffn,
  0x1000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 4096n,
  (1n << 64n) - 1n,
];

type Random = () => number;
type Mutation = (input: Uint8Array, random: Random, reader: FuzzedReader) => Uint8Array;

const below = (random: Random, limit: number): number => Math.floor(random() * limit);
const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)]!;

function splice(input: Uint8Array, at: number, remove: number, insert: Uint8Array): Uint8Array {
  return Buffer.concat([input.subarray(0, at), insert, input.subarray(Math.min(input.length, at + remove))]);
}

function overwrite(input: Uint8Array, at: number, bytes: Uint8Array): Uint8Array {
  return splice(input, at, bytes.length, bytes).subarray(0, Math.max(input.length, at + bytes.length));
}

function little(value: bigint, width: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.subarray(0, width);
}

const flipBit: Mutation = (input, random) => {
  const result = Uint8Array.from(input);
  const at = below(random, result.length);
  if (result.length > 0) result[at] = result[at]! ^ (1 << below(random, 8));
  return result;
};
const setByte: Mutation = (input, random) => {
  const result = Uint8Array.from(input);
  if (result.length > 0) result[below(random, result.length)] = below(random, 256);
  return result;
};
/** A number that breaks arithmetic, where numbers are: at multiples of its width. */
const setNumber: Mutation = (input, random) => {
  const width = pick(random, [2, 4, 8]);
  const at = below(random, Math.max(1, Math.floor(input.length / width))) * width;
  const value = random() < 0.7 ? pick(random, INTERESTING) : BigInt(below(random, 2 ** 48));
  return overwrite(input, at, little(value, width));
};
/** A number that is there, a little larger or smaller, or taken from elsewhere in the input. */
const shiftNumber: Mutation = (input, random) => {
  if (input.length < 16) return input;
  const from = below(random, Math.floor(input.length / 8)) * 8;
  const to = random() < 0.5 ? from : below(random, Math.floor(input.length / 8)) * 8;
  const value = Buffer.from(input.buffer, input.byteOffset, input.byteLength).readBigUInt64LE(from);
  const step = pick(random, [0n, 1n, -1n, 4096n, -4096n, 1n << 31n]);
  return overwrite(input, to, little(BigInt.asUintN(64, value + step), 8));
};
const insertWord: Mutation = (input, random, { dictionary }) =>
  dictionary.length === 0
    ? input
    : splice(
        input,
        below(random, input.length + 1),
        random() < 0.5 ? 0 : below(random, 8),
        pick(random, dictionary),
      );
const remove: Mutation = (input, random) =>
  splice(input, below(random, input.length + 1), 1 + below(random, 64), new Uint8Array());
const truncate: Mutation = (input, random) => input.subarray(0, below(random, input.length + 1));
const repeat: Mutation = (input, random) => {
  const at = below(random, input.length + 1);
  const piece = input.subarray(at, at + 1 + below(random, 128));
  const times = 1 + below(random, random() < 0.1 ? 64 : 4);
  return splice(
    input,
    at,
    0,
    Buffer.concat(Array.from({ length: times }, () => piece)).subarray(0, MAX_GROWTH),
  );
};
const fill: Mutation = (input, random) => {
  const at = below(random, input.length + 1);
  return overwrite(input, at, new Uint8Array(1 + below(random, 256)).fill(below(random, 256)));
};
const cross: Mutation = (input, random, { corpus }) => {
  const other = pick(random, corpus);
  return Buffer.concat([
    input.subarray(0, below(random, input.length + 1)),
    other.subarray(below(random, other.length + 1)),
  ]);
};

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  setByte,
  setNumber,
  setNumber,
  shiftNumber,
  insertWord,
  insertWord,
  remove,
  truncate,
  repeat,
  fill,
  cross,
];

/** Input number `number` (from 0) of `reader`: first its corpus as it is, then what is made of that. */
export function inputOf(reader: FuzzedReader, seed: number, number: number): Uint8Array {
  const whole = reader.corpus[number];
  if (whole !== undefined) return whole;
  const random = seededRandom(mixed(seed, reader.name, number));
  let input = pick(random, reader.corpus);
  // Most inputs are changed in few places: one that is refused at its first byte teaches nothing about the rest.
  const changes = 1 + Math.floor(-Math.log(1 - random()) * 2);
  for (let change = 0; change < changes; change++) input = pick(random, MUTATIONS)(input, random, reader);
  return Uint8Array.from(input);
}

/** One 32-bit seed from three values (FNV-1a). */
function mixed(seed: number, name: string, number: number): number {
  let hash = 0x811c_9dc5;
  for (const byte of Buffer.from(`${seed} ${name} ${number}`)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash >>> 0;
}
