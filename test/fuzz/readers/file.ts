/** Files that `inspect` is given: a core header, a vmcore, or a copy of crash memory, each as somebody else left it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeCoreHeader } from "../../../src/elfcore/encode.ts";
import { CoreHeaderError } from "../../../src/elfcore/error.ts";
import { MemoryAccessError } from "../../../src/image/memory.ts";
import { HeaderFileError, readHeaderFile } from "../../../src/targets/file.ts";
import { sample } from "../../elfcore/samples.ts";
import { load } from "../../image/fake-loaders.ts";
import { CRASH, FakeKernel } from "../../image/fake-machine.ts";
import { makeDirectory } from "../directory.ts";
import { bytesOf, type FuzzedReader, promise } from "../reader.ts";

/** A header whose loads have offsets in a file, as /proc/vmcore shows it. */
function vmcore(): Uint8Array {
  const programHeaders = sample.programHeaders.map((each, i) => ({
    ...each,
    p_offset: BigInt(4096 * (i + 1)),
  }));
  return encodeCoreHeader({ ...sample, programHeaders });
}

/** The beginning and the end of crash memory: header, purgatory and boot parameters without the kernel between them. */
function crashMemory(): Uint8Array {
  const kernel = new FakeKernel();
  load(kernel, "file");
  const tail = 0x4_0000;
  return Buffer.concat([
    kernel.memory.peek(CRASH.start, 4096),
    kernel.memory.peek(CRASH.end - BigInt(tail), tail),
  ]);
}

function headerFile(): FuzzedReader {
  let path: string | undefined;
  return {
    name: "header-file",
    share: 2,
    corpus: [encodeCoreHeader(sample), vmcore(), crashMemory()],
    dictionary: ["elfcorehdr=0x", "elfcorehdr=0x3ec00000 ", "\x7fELF", "\0"].map(bytesOf),
    refusals: [HeaderFileError, CoreHeaderError, MemoryAccessError],
    read: async (input) => {
      if (path === undefined) {
        path = join(makeDirectory(), "file");
      }
      writeFileSync(path, input);
      const { header } = await readHeaderFile(path);
      promise(header.programHeaders.length > 0, "a header without program headers");
    },
  };
}

export const FILE_READERS: readonly FuzzedReader[] = [headerFile()];
