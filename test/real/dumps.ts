/**
 * Dumps of guests with hot-added memory, for outside tools: filtered by makedumpfile in the capture kernel, and carried
 * out over an NVMe disk. (Over the second serial port a dump of some tens of MiB would take minutes.)
 */
import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { command } from "../../src/lab/fetch/program.ts";
import { type DumpTool, toolEnvironment, toolProgram, type ToolsSupply } from "../../src/lab/fetch/tools.ts";
import { Keeper } from "../../src/keeper/keeper.ts";
import { readVmcore, type Vmcore } from "../../src/lab/evidence.ts";
import { fillMemory, panic, waitUntilOnline } from "../../src/lab/guest-actions.ts";
import { GUEST_MAKEDUMPFILE } from "../../src/lab/tools.ts";
import type { PhysicalRange } from "../../src/layout/range.ts";
import { QemuMachine } from "../../src/targets/qemu/machine.ts";
import { nodeSha256 } from "../../src/targets/sha256.ts";
import type { Lab } from "./lab.ts";

const MIB = 1n << 20n;
/** Room for what a filter leaves of the guest's memory; the file is sparse. */
const DISK_BYTES = 4 * 1024 ** 3;
/** makedumpfile looks at every page of 2 GiB: 10 to 60 s under TCG. */
const FILTER_MS = 240_000;

/** How a program ended, with all that it printed. */
export interface ToolRun {
  /** Exit status; -1 where a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a program printed, where it succeeded. @throws with its last words where it did not. */
export function outputOf({ status, stdout, stderr }: ToolRun): string {
  if (status === 0) return stdout;
  throw new Error(`Ended with status ${status}: ${(stderr || stdout).trim().slice(-500)}`);
}

/** What one guest's panic left. */
export interface GuestDump extends AsyncDisposable {
  readonly release: string;
  readonly directory: string;
  /** The hot-added DIMMs. */
  readonly dimms: readonly PhysicalRange[];
  /** The header of /proc/vmcore, as the capture kernel showed it. */
  readonly vmcore: Vmcore;
  /** /proc/vmcore up to the end of its notes, as long as the whole by a hole: for readers of headers. */
  readonly headFile: string;
  /** What `makedumpfile --dump-dmesg` did in the capture kernel, and the log that it wrote. */
  readonly dmesg: ToolRun;
  /** What `makedumpfile -E -d 31` did in the capture kernel. */
  readonly filter: ToolRun;
  /** The filtered dump, ELF. */
  readonly file: string;
  /** Each DIMM's bytes after the panic, as QEMU shows them, in a file. */
  readonly memoryFiles: readonly string[];
}

/** Boots a guest, adds two DIMMs, lets somebody keep the header true or nobody, panics it, and takes the dump out. */
export async function makeDump(
  lab: Lab,
  { dimmMiB, kept }: { readonly dimmMiB: number; readonly kept: boolean },
): Promise<GuestDump> {
  const { tools } = lab.supplies;
  if (!tools) throw new Error("The lab has no tools: openLab with { tools: true }");
  const directory = await mkdtemp(join(tmpdir(), "kdh-dump-"));
  const remove = async (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const disk = join(directory, "disk");
    await using file = await open(disk, "w");
    await file.truncate(DISK_BYTES);
    const guest = await lab.bootLoaded({ disk });
    await using _ = guest;
    await using outside = await QemuMachine.open(guest.labQmpPath);
    const { agent } = guest;
    const dimms: PhysicalRange[] = [];
    for (let i = 0; i < 2; i++) {
      const size = BigInt(dimmMiB) * MIB;
      const { address } = await outside.guest.plugDimm({ size, shared: { kind: "memfd" } });
      dimms.push({ start: address, end: address + size });
    }
    await waitUntilOnline(agent, dimms);
    await fillMemory(agent, 2 * dimmMiB);
    if (kept) await new Keeper(outside, nodeSha256).reconcile();
    if (!(await panic(guest))) throw new Error(`No capture kernel came up:\n${await guest.consoleTail()}`);
    const vmcore = await readVmcore(agent);
    if (!vmcore) throw new Error("The capture kernel has no /proc/vmcore");
    const memoryFiles: string[] = [];
    for (const [i, range] of dimms.entries()) {
      memoryFiles.push(join(directory, `dimm${i}`));
      await writeFile(memoryFiles[i]!, pieces(outside, range));
    }

    const headFile = join(directory, "head");
    await writeHead(headFile, vmcore, async (pages) => {
      const { output } = await agent.run(`dd if=/proc/vmcore bs=4096 count=${pages} 2>/dev/null`);
      return output;
    });
    const inGuest = async (line: string): Promise<ToolRun> => {
      const { status, output } = await agent.run(line, FILTER_MS);
      return { status, stdout: Buffer.from(output).toString("latin1"), stderr: "" };
    };
    const dmesg = await inGuest(
      `${GUEST_MAKEDUMPFILE} --dump-dmesg /proc/vmcore /tmp/dmesg && tail -c 20000 /tmp/dmesg`,
    );
    // Flattened, because a disk is no file that could be cut to its length.
    const filter = await inGuest(
      // Message level 4 is errors and reports: no progress, which would be megabytes over a serial port.
      `${GUEST_MAKEDUMPFILE} -F -E -d 31 --message-level 20 /proc/vmcore > /dev/nvme0n1 && sync`,
    );
    await agent.finish("capture");
    const dump = join(directory, "dump");
    if (filter.status === 0) await unflatten(tools, disk, dump);
    await rm(disk);
    const { release } = guest;
    return {
      release,
      directory,
      dimms,
      vmcore,
      headFile,
      dmesg,
      filter,
      file: dump,
      memoryFiles,
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function* pieces(machine: QemuMachine, { start, end }: PhysicalRange): AsyncGenerator<Uint8Array> {
  const size = 16n * MIB;
  for (let at = start; at < end; at += size)
    yield machine.memory.read(at, Number(at + size < end ? size : end - at));
}

/** The capture kernel puts the notes, merged into one PT_NOTE, between the program headers and the memory. */
async function writeHead(
  path: string,
  { header }: Vmcore,
  read: (pages: number) => Promise<Uint8Array>,
): Promise<void> {
  const notes = header.programHeaders[0]!;
  const ends = header.programHeaders.map(({ p_offset, p_filesz }) => p_offset + p_filesz);
  await writeFile(path, await read(Math.ceil(Number(notes.p_offset + notes.p_filesz) / 4096)));
  await using file = await open(path, "r+");
  await file.truncate(Number(ends.reduce((most, end) => (end > most ? end : most))));
}

/** `makedumpfile -R`: from the flattened form to a file. */
async function unflatten(tools: ToolsSupply, from: string, to: string): Promise<void> {
  outputOf(await runTool(tools, "makedumpfile", ["-R", to], { stdin: from }));
}

/** Runs one of the lab's tools on this machine. */
export async function runTool(
  tools: ToolsSupply,
  tool: DumpTool,
  args: readonly string[],
  { stdin, limitMs = 120_000 }: { readonly stdin?: string; readonly limitMs?: number } = {},
): Promise<ToolRun> {
  const [executable, words] = command(await toolProgram(tools, tool), ...args);
  const child = spawn(executable, words, {
    env: { ...process.env, ...toolEnvironment(tools), TERM: "dumb" },
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    timeout: limitMs,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout!.on("data", (bytes: Buffer) => (stdout += bytes.toString("latin1")));
  child.stderr!.on("data", (bytes: Buffer) => (stderr += bytes.toString("latin1")));
  if (stdin !== undefined) {
    child.stdin!.on("error", () => undefined);
    createReadStream(stdin).pipe(child.stdin!);
  }
  await once(child, "close");
  return { status: child.exitCode ?? -1, stdout, stderr };
}
