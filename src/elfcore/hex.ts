/** `0x` and lower-case digits, as this project writes addresses. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
