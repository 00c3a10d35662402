// What a capture kernel was told, from a dump that never leaves the reader's machine: the first bytes of a vmcore, or a
// copy of a core header, decoded in the page.
import { decodeCoreHeader, describedMemory, formatBytes, kindsOf } from "kdump-hotplug/pure";

/** Program headers are at most 65,534 of 56 bytes, behind 64 bytes. */
const LARGEST = 64 + 56 * 65_534;

/** What stands in the table: one row for each program header. */
export function rowsOf(bytes) {
  const header = decodeCoreHeader(bytes);
  const kinds = kindsOf(header);
  const rows = header.programHeaders.map(({ p_paddr, p_memsz }, index) => [
    kinds[index],
    `0x${p_paddr.toString(16)}`,
    formatBytes(p_memsz),
  ]);
  return { rows, described: formatBytes(describedMemory(header).bytes) };
}

async function show(file) {
  const said = document.querySelector("#said");
  const body = document.querySelector("tbody");
  body.replaceChildren();
  try {
    const { rows, described } = rowsOf(new Uint8Array(await file.slice(0, LARGEST).arrayBuffer()));
    for (const cells of rows) {
      const row = body.insertRow();
      for (const cell of cells) row.insertCell().textContent = cell;
    }
    said.textContent = `${rows.length} program headers describe ${described} of memory`;
  } catch (error) {
    said.textContent = error.message;
  }
}

// Under Node there is no page: then only rowsOf is used.
if (typeof document !== "undefined")
  document.querySelector("input").addEventListener("change", ({ target }) => void show(target.files[0]));
