/** A core header as bytes. Every field's width is checked, for `DataView` stores too large values cut short. */
import { CoreHeaderError } from "./error.ts";
import { hex } from "./hex.ts";
import {
  ADDRESS_LIMIT,
  P_FLAGS_OFFSET,
  P_TYPE_OFFSET,
  WIDE_FIELD_OFFSETS,
  type WideField,
} from "./fields.ts";
import {
  type CoreHeader,
  coreHeaderSize,
  E_PHNUM_OFFSET,
  EHDR_SIZE,
  PHDR_SIZE,
  PN_XNUM,
  type ProgramHeader,
} from "./header.ts";

const WIDE_FIELDS: readonly WideField[] = [
  "p_offset",
  "p_vaddr",
  "p_paddr",
  "p_filesz",
  "p_memsz",
  "p_align",
];

/**
 * Encodes a core header. Padding up to the segment's size is the caller's.
 *
 * The file header's 64 bytes are stored as they are, but for `e_phnum`, which becomes the number of program
 * headers. Only widths are checked here: whether a kernel would take the header is `decodeCoreHeader`'s matter.
 *
 * @returns exactly 64 + 56 * n bytes.
 * @throws {CoreHeaderError} where the file header has not 64 bytes, a field does not fit its width, or there are
 *   no program headers or more than `e_phnum` can say (0xfffe).
 */
export function encodeCoreHeader(header: CoreHeader): Uint8Array {
  const { fileHeader, programHeaders } = header;
  if (fileHeader.length !== EHDR_SIZE) {
    throw new CoreHeaderError({
      action: "encode",
      field: "file header",
      offset: 0,
      found: `${fileHeader.length} bytes`,
      expected: `${EHDR_SIZE} bytes`,
    });
  }
  const count = programHeaders.length;
  if (count === 0 || count >= PN_XNUM) {
    throw new CoreHeaderError({
      action: "encode",
      field: "e_phnum",
      offset: E_PHNUM_OFFSET,
      found: String(count),
      expected: `1 to ${PN_XNUM - 1}`,
    });
  }
  const bytes = new Uint8Array(coreHeaderSize(count));
  bytes.set(fileHeader);
  const view = new DataView(bytes.buffer);
  view.setUint16(E_PHNUM_OFFSET, count, true);
  let offset = EHDR_SIZE;
  for (const programHeader of programHeaders) {
    store(view, offset, programHeader);
    offset += PHDR_SIZE;
  }
  return bytes;
}

function store(view: DataView, base: number, programHeader: ProgramHeader): void {
  storeNarrow(view, base + P_TYPE_OFFSET, "p_type", programHeader.p_type);
  storeNarrow(view, base + P_FLAGS_OFFSET, "p_flags", programHeader.p_flags);
  for (const field of WIDE_FIELDS) {
    const offset = WIDE_FIELD_OFFSETS[field];
    const value = programHeader[field];
    if (value < 0n || value >= ADDRESS_LIMIT) {
      throw tooWide(field, base + offset, value, 64);
    }
    view.setBigUint64(base + offset, value, true);
  }
}

function storeNarrow(view: DataView, offset: number, field: string, value: number): void {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw tooWide(field, offset, value, 32);
  }
  view.setUint32(offset, value, true);
}

function tooWide(field: string, offset: number, value: number | bigint, bits: number): CoreHeaderError {
  return new CoreHeaderError({
    action: "encode",
    field,
    offset,
    found: hex(value),
    expected: `an unsigned ${bits}-bit integer`,
  });
}
