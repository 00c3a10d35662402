import { describe, expect, test } from "vitest";
import { MeasurementError } from "../../../src/lab/errors.ts";
import { placesOf } from "../../../src/lab/window/symbols.ts";

const IOMEM = `00100000-3fffffff : System RAM
  02a00000-037fffff : Kernel code
  03800000-040fffff : Kernel rodata
`;
const TEXT = "ffffffff9ca00000 T _text\n";
const COMMON = `${TEXT}ffffffff9e58e2a8 B kexec_crash_image
ffffffff9dd02c40 D _totalram_pages
ffffffff9dd02d00 D __cpu_online_mask
ffffffff9dd0d6f8 D page_offset_base
ffffffff9dd0d6ff t page_offset_base_not
`;

describe("places to watch", () => {
  test("are as far from the start of the kernel's code as the symbols are from _text", () => {
    expect(placesOf(`${COMMON}ffffffff9e58e2b0 B __kexec_lock\n`, IOMEM)).toEqual({
      image: 0x2a00000n + 0x1b8e2a8n,
      lock: 0x2a00000n + 0x1b8e2b0n,
      lockKind: "counter",
      pages: 0x2a00000n + 0x1302c40n,
      pageOffsetBase: 0x2a00000n + 0x130d6f8n,
      onlineCpus: 0x2a00000n + 0x1302d00n,
    });
  });

  test("have a mutex for a lock where the kernel is older than 6.0", () => {
    const places = placesOf(`${COMMON}ffffffff9dd10000 D kexec_mutex\n`, IOMEM);
    expect(places).toMatchObject({ lock: 0x2a00000n + 0x1310000n, lockKind: "mutex" });
  });

  test.each([
    ["the lock", COMMON, "does not say where __kexec_lock or kexec_mutex is"],
    ["_text", COMMON.replace(TEXT, ""), "does not say where kexec_crash_image is"],
    [
      "anything: zeros to those who may not see",
      COMMON.replaceAll(/^f+[0-9a-f]+/gm, "0000000000000000"),
      "where",
    ],
  ])("are refused without %s", (_, kallsyms, message) => {
    expect(() => placesOf(kallsyms, IOMEM)).toThrow(MeasurementError);
    expect(() => placesOf(kallsyms, IOMEM)).toThrow(message);
  });

  test("are refused where /proc/iomem does not show the kernel", () => {
    expect(() => placesOf(COMMON, "00100000-3fffffff : System RAM\n")).toThrow('no "Kernel code"');
  });
});
