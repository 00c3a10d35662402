/** Little-endian reads and byte comparison, shared by everything that looks at a machine's memory. */

/** Bytes of one page of x86-64: the unit in which kexec places segments. */
export const PAGE_SIZE = 4096;

/** The u32 at `offset`; the caller knows that it is there. */
export function u32(bytes: Uint8Array, offset: number): number {
  return (
    (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>>
    0
  );
}

/** The u64 at `offset`; the caller knows that it is there. */
export function u64(bytes: Uint8Array, offset: number): bigint {
  return (BigInt(u32(bytes, offset + 4)) << 32n) | BigInt(u32(bytes, offset));
}

/** `value` as 8 little-endian bytes. */
export function u64Bytes(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  return bytes;
}

/** `value` rounded up to a multiple of `alignment`. */
export function alignUp(value: bigint, alignment: bigint): bigint {
  return alignDown(value + alignment - 1n, alignment);
}

/** `value` rounded down to a multiple of `alignment`. */
export function alignDown(value: bigint, alignment: bigint): bigint {
  return value - (value % alignment);
}

/** Whether two byte strings are the same. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  // Not `every`: a call for each byte takes six times as long, and segments have many thousands.
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Latin-1 text of `bytes` up to the first NUL. */
export function textUntilNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, end === -1 ? bytes.length : end));
}

/**
 * Offsets at which `needle` (at most 255 bytes) stands in `hay`, ascending, at most `limit` of them.
 *
 * Horspool's search. `indexOf` of the first byte is faster on random bytes, but takes seconds for 100 MiB in which
 * that byte fills everything, and a guest can arrange for that.
 */
export function findBytes(hay: Uint8Array, needle: Uint8Array, limit = 1024): readonly number[] {
  const last = needle.length - 1;
  const shift = new Uint8Array(256).fill(needle.length);
  for (let i = 0; i < last; i++) shift[needle[i]!] = last - i;
  const found: number[] = [];
  for (let at = 0; at + last < hay.length && found.length < limit; at += shift[hay[at + last]!]!) {
    let i = last;
    while (i >= 0 && hay[at + i] === needle[i]) i--;
    if (i < 0) found.push(at);
  }
  return found;
}

/**
 * `bytes` as little-endian u32s, without a copy where their place in memory and the host permit. Reading megabytes
 * word by word through this is five times as fast as through {@link u32}.
 */
export function words(bytes: Uint8Array): Uint32Array {
  const count = bytes.length >>> 2;
  if (HOST_IS_LITTLE_ENDIAN && bytes.byteOffset % 4 === 0) {
    return new Uint32Array(bytes.buffer, bytes.byteOffset, count);
  }
  return Uint32Array.from({ length: count }, (_, i) => u32(bytes, i * 4));
}

const HOST_IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Multiples of 8 at which the u64 `value` stands in `bytes`, ascending, at most `limit` of them. */
export function findU64s(bytes: Uint8Array, value: bigint, limit = 1024): readonly number[] {
  const low = Number(value & 0xffffffffn);
  const high = Number(value >> 32n);
  const found: number[] = [];
  const list = words(bytes);
  for (let i = 0; i + 1 < list.length && found.length < limit; i += 2) {
    if (list[i] === low && list[i + 1] === high) found.push(i * 4);
  }
  return found;
}
