/** Files that look like a kernel's. */

/** A kernel file of 64 KiB whose setup header is as Linux 6.1 has it, with `change`s. It has no code: no kernel runs. */
export function bzImage(change: (view: DataView) => void = () => undefined): Uint8Array {
  const bytes = new Uint8Array(64 * 1024);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint8(0x211, 1);
  view.setUint16(0x236, 0x7f, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x260, 0x0330_0800, true);
  change(view);
  return bytes;
}
