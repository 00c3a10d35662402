/** A Debian machine in a temporary directory, whose apt and dpkg are functions of the test. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import * as v from "valibot";
import type { Machine } from "../../../src/lab/fetch/machine.ts";
import type { Run, RunOptions, RunResult } from "../../../src/lab/fetch/run.ts";

/** What the test's archive offers: a suite's packages, each with its files. */
export interface FakePackage {
  readonly version: string;
  readonly depends?: string;
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

export type FakeArchive = Readonly<Record<string, Readonly<Record<string, FakePackage>>>>;

export const SOURCES: string = [
  "Types: deb",
  "URIs: http://archive.example/debian",
  "Suites: bookworm bookworm-updates",
  "Components: main",
  "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
  "",
].join("\n");

/** The smallest x86-64 ELF program, dynamic where it names a loader. */
export function elfProgram(interpreter?: string): Uint8Array {
  const name = Buffer.from(interpreter === undefined ? "" : `${interpreter}\0`);
  const bytes = Buffer.alloc(64 + 56 + name.length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes.writeUInt16LE(62, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(interpreter === undefined ? 1 : 3, 64);
  bytes.writeBigUInt64LE(120n, 72);
  bytes.writeBigUInt64LE(BigInt(name.length), 96);
  name.copy(bytes, 120);
  return bytes;
}

const LOADER = "/lib64/ld-linux-x86-64.so.2";
const LIB = "usr/lib/x86_64-linux-gnu";

function kernelPackages(release: string, modules: string): Readonly<Record<string, FakePackage>> {
  return {
    "linux-image-cloud-amd64": { version: "1-1", depends: `linux-image-${release} (= 1-1)` },
    [`linux-image-${release}`]: {
      version: "1-1",
      files: {
        [`boot/vmlinuz-${release}`]: `kernel ${release}`,
        [`boot/config-${release}`]: "CONFIG_KEXEC=y",
        [`${modules}/${release}/modules.order`]: "",
        [`${modules}/${release}/kernel/drivers/virtio/virtio_mem.ko`]: "virtio_mem",
        [`${modules}/${release}/kernel/drivers/virtio/virtio_balloon.ko`]: "virtio_balloon",
      },
    },
  };
}

const LIBC: FakePackage = {
  version: "2.41-1",
  files: { [`${LIB}/libc.so.6`]: "libc", "usr/lib64/ld-linux-x86-64.so.2": "loader" },
};

/** udev and flock; `usr`: "usr/" after Debian moved everything there. */
function udevPackages(version: string, usr: string): Readonly<Record<string, FakePackage>> {
  return {
    udev: {
      version,
      files: {
        [`${usr}bin/udevadm`]: elfProgram(LOADER),
        [`${usr}lib/systemd/systemd-udevd`]: elfProgram(LOADER),
        [`${usr}lib/udev/rules.d/50-udev-default.rules`]: "not wanted",
      },
    },
    "util-linux": { version: "2.41-1", files: { "usr/bin/flock": elfProgram(LOADER) } },
    libc6: LIBC,
  };
}

/** Tools that read dumps, with a piece of Python's library and an extension of drgn's. */
const TOOLS: Readonly<Record<string, FakePackage>> = {
  makedumpfile: { version: "1:1.7.6-1", files: { "usr/bin/makedumpfile": elfProgram(LOADER) } },
  binutils: { version: "2.44-3", files: { "usr/bin/readelf": elfProgram(LOADER) } },
  gdb: { version: "16.3-1", files: { "usr/bin/gdb": elfProgram(LOADER), "etc/gdb/gdbinit": "not wanted" } },
  crash: { version: "8.0.6-1", files: { "usr/bin/crash": elfProgram(LOADER) } },
  "python3-drgn": {
    version: "0.0.31-1",
    files: {
      "usr/bin/python3": elfProgram(LOADER),
      "usr/lib/python3.13/os.py": "python",
      "usr/lib/python3/dist-packages/drgn/__init__.py": "drgn",
      "usr/lib/python3/dist-packages/_drgn.cpython-313-x86_64-linux-gnu.so": elfProgram(LOADER),
      "usr/lib/python3/dist-packages/other.py": "not wanted",
    },
  },
};

/** An archive as the lab expects it. */
export const ARCHIVE: FakeArchive = {
  bullseye: { ...kernelPackages("5.10.0-1-cloud-amd64", "lib/modules"), ...udevPackages("247.3-1", "") },
  bookworm: {
    ...kernelPackages("6.1.0-1-cloud-amd64", "lib/modules"),
    ...udevPackages("252.39-1", ""),
    "busybox-static": { version: "1:1.35-1", files: { "bin/busybox": elfProgram() } },
  },
  trixie: {
    ...kernelPackages("6.12.1+deb13-cloud-amd64", "usr/lib/modules"),
    ...udevPackages("257.13-1", "usr/"),
    "kexec-tools": { version: "1:2.0.29-2", files: { "usr/sbin/kexec": elfProgram(LOADER) } },
    ...TOOLS,
    libunused1: { version: "1-1", files: { [`${LIB}/libunused.so.1`]: "never loaded" } },
    debconf: { version: "1.5", files: { "usr/bin/debconf": "script" } },
  },
};

/** One program that was run. */
export interface Call {
  readonly command: string;
  readonly args: readonly string[];
  readonly options: RunOptions;
}

/** Answers a call instead of the machine; undefined: the machine answers. */
export type Override = (call: Call) => Partial<RunResult> | Promise<Partial<RunResult>> | undefined;

export class FakeMachine implements Machine, AsyncDisposable {
  readonly directory: string;
  readonly etc: string;
  readonly path: readonly string[];
  readonly cacheRoot: string;
  uid = 0;
  cpu = "x64";
  archive: FakeArchive = ARCHIVE;
  override: Override = () => undefined;
  readonly calls: Call[] = [];
  readonly lines: string[] = [];

  private constructor(directory: string) {
    this.directory = directory;
    this.etc = join(directory, "etc");
    this.path = [join(directory, "bin")];
    this.cacheRoot = join(directory, "cache", "kdump-hotplug");
  }

  static async create(
    programs: readonly string[] = [
      "apt-get",
      "apt-cache",
      "dpkg",
      "dpkg-deb",
      "setpriv",
      "libvirtd",
      "virsh",
    ],
  ): Promise<FakeMachine> {
    const machine = new FakeMachine(await mkdtemp(join(tmpdir(), "kdump-hotplug-test-")));
    await machine.write("etc/os-release", 'ID=debian\nPRETTY_NAME="Debian 12"\nVERSION_CODENAME=bookworm\n');
    await machine.write("etc/apt/sources.list.d/debian.sources", SOURCES);
    for (const program of programs) await machine.addProgram(program);
    return machine;
  }

  async write(path: string, content: string | Uint8Array): Promise<string> {
    const file = join(this.directory, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
    return file;
  }

  async addProgram(name: string, content: string | Uint8Array = ""): Promise<string> {
    const file = await this.write(`bin/${name}`, content);
    await chmod(file, 0o755);
    return file;
  }

  readonly log = (line: string): void => {
    this.lines.push(line);
  };

  /** How often a program was run with a word among its arguments. */
  count(program: string, word: string): number {
    return this.calls.filter(({ command, args }) => basename(command) === program && args.includes(word))
      .length;
  }

  readonly run: Run = async (command, args, options) => {
    options.signal?.throwIfAborted();
    const call = { command, args, options };
    this.calls.push(call);
    const answer = (await this.override(call)) ?? (await this.#answer(call));
    options.signal?.throwIfAborted();
    return { code: 0, stdout: "", stderr: "", ...answer };
  };

  async #answer({ command, args, options }: Call): Promise<Partial<RunResult>> {
    const words = args.filter((_, index) => args[index] !== "-o" && args[index - 1] !== "-o");
    const suite = await this.#suiteOf(args);
    switch (basename(command)) {
      case "apt-get":
        if (words[0] === "install") return { stdout: simulation(suite) };
        if (words[0] === "download") await this.#download(suite, words.slice(1), options.cwd ?? "");
        return {};
      case "apt-cache":
        return { stdout: show(suite, words.at(-1) ?? "") };
      case "dpkg-deb":
        await this.#extract(args[1] ?? "", args[2] ?? "");
        return {};
      case "qemu-system-x86_64":
        return { stdout: "QEMU emulator version 10.0.2 (Debian 1:10.0.2)\n" };
      case "ld-linux-x86-64.so.2":
        return args.includes("--list")
          ? listing(args)
          : { stdout: versionOf(args.find((arg) => arg.startsWith("/") && /bin\/[^:/]*$/.test(arg)) ?? "") };
      default:
        throw new Error(`The test's machine has no ${command} ${args.join(" ")}`);
    }
  }

  /** The packages of the suite that a private apt's sources name. */
  async #suiteOf(args: readonly string[]): Promise<Readonly<Record<string, FakePackage>>> {
    const parts = args.find((arg) => arg.startsWith("Dir::Etc::sourceparts="))?.split("=")[1];
    if (parts === undefined) return {};
    const text = await readFile(join(parts, "debian.sources"), "utf8");
    return this.archive[/^Suites: (\S+)/m.exec(text)?.[1] ?? ""] ?? {};
  }

  async #download(
    suite: Readonly<Record<string, FakePackage>>,
    names: readonly string[],
    directory: string,
  ): Promise<void> {
    for (const word of names) {
      const name = word.split("=")[0] ?? "";
      const files = Object.entries(suite[name]?.files ?? {}).map(
        ([path, content]) => [path, Buffer.from(content).toString("base64")] as const,
      );
      await writeFile(join(directory, `${name}_1_amd64.deb`), JSON.stringify(files));
    }
  }

  async #extract(archive: string, root: string): Promise<void> {
    const files = v.parse(
      v.array(v.tuple([v.string(), v.string()])),
      JSON.parse(await readFile(archive, "utf8")),
    );
    for (const [path, content] of files) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), Buffer.from(content, "base64"));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

function show(suite: Readonly<Record<string, FakePackage>>, name: string): string {
  const found = suite[name];
  if (found === undefined) return "";
  return `Package: ${name}\nVersion: ${found.version}\nDepends: ${found.depends ?? ""}\nSize: 1000000\n`;
}

function simulation(suite: Readonly<Record<string, FakePackage>>): string {
  const all = ["debconf", "libc6", "libunused1", "kexec-tools", "udev", "util-linux", ...Object.keys(TOOLS)];
  const names = all.filter((name) => name in suite);
  return names.map((name) => `Inst ${name} (${suite[name]?.version} Debian:13/stable [amd64]) []\n`).join("");
}

/** What a program that the loader starts says of itself. */
function versionOf(binary: string): string {
  switch (basename(binary)) {
    case "udevadm":
      return "252\n";
    case "flock":
      return "flock from util-linux 2.41\n";
    case "makedumpfile":
      return "makedumpfile: version 1.7.6 (released on 6 Nov 2024)\n";
    case "readelf":
      return "GNU readelf (GNU Binutils for Debian) 2.44\n";
    case "gdb":
      return "GNU gdb (Debian 16.3-1) 16.3\n";
    case "crash":
      return "\ncrash 8.0.6\n";
    case "python3":
      return "0.0.31\n";
    default:
      return "kexec-tools 2.0.29\n";
  }
}

function listing(args: readonly string[]): Partial<RunResult> {
  const directory = args[args.indexOf("--library-path") + 1]
    ?.split(":")
    .find((path) => path.endsWith("linux-gnu"));
  return {
    stdout: `\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => ${directory}/libc.so.6 (0x00007f00)\n\t${LOADER} => /x/ld (0x00007f11)\n`,
  };
}
