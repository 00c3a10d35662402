import { appendFile, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { SupplyError } from "../../../src/lab/fetch/errors.ts";
import { fetchAll, supply } from "../../../src/lab/fetch/supplies.ts";
import { elfProgram, FakeMachine } from "./fake-machine.ts";

async function withQemu(): Promise<FakeMachine> {
  const machine = await FakeMachine.create();
  await machine.addProgram("qemu-system-x86_64");
  return machine;
}

/** The one SupplyError, or a failure of the test. */
async function lacking(promise: Promise<unknown>): Promise<SupplyError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof SupplyError) return error;
  throw new Error("Expected a SupplyError", { cause: error });
}

describe("supply", () => {
  test.each([
    ["5.10", "bullseye", "5.10.0-1-cloud-amd64"],
    ["6.1", "bookworm", "6.1.0-1-cloud-amd64"],
    ["6.12", "trixie", "6.12.1+deb13-cloud-amd64"],
  ])(
    "fetches kernel %s of %s, busybox, and of kexec's dependencies what it loads",
    async (kernel, suite, release) => {
      await using machine = await withQemu();
      const supplies = await supply({ kernel, log: machine.log }, machine);
      expect(supplies.kernel).toMatchObject({ suite, release });
      expect(await readFile(supplies.kernel.vmlinuz, "utf8")).toBe(`kernel ${release}`);
      // Of its modules those that virtio-mem needs.
      expect(supplies.kernel.modules.map((path) => basename(path))).toEqual(["virtio_mem.ko"]);
      expect(Buffer.from(elfProgram()).equals(await readFile(supplies.busybox))).toBe(true);
      expect(supplies.kexec.version).toBe("2.0.29");
      expect(supplies.kexec.libraries.map(({ guestPath }) => guestPath)).toEqual([
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
      ]);
      expect(supplies.kexec.loader?.guestPath).toBe("/lib64/ld-linux-x86-64.so.2");
      expect(await readFile(supplies.kexec.loader?.hostPath ?? "", "utf8")).toBe("loader");
      expect(supplies.qemu.version).toBe("10.0.2");
      expect(machine.lines.at(-1)).toMatch(/^QEMU 10\.0\.2 /);
      // Only libraries are downloaded with kexec-tools; nothing is left behind.
      expect(machine.calls.flatMap(({ args }) => args)).not.toContain("debconf=1.5");
      expect((await readdir(machine.cacheRoot)).sort()).toEqual(["busybox", `kernel-${kernel}-v2`, "kexec"]);
    },
  );

  test("checks signatures and changes nothing of the system, whatever apt.conf says", async () => {
    await using machine = await withQemu();
    await supply({ log: machine.log }, machine);
    const apts = machine.calls.filter(({ command }) => command.startsWith("apt-"));
    expect(apts.length).toBeGreaterThan(5);
    for (const { args } of apts) {
      expect(args).toEqual(expect.arrayContaining(["APT::Get::AllowUnauthenticated=false"]));
      expect(args).toEqual(expect.arrayContaining(["Acquire::AllowInsecureRepositories=false"]));
      for (const key of ["Dir::State", "Dir::State::status", "Dir::State::lists", "Dir::Cache"]) {
        expect(args.find((arg) => arg.startsWith(`${key}=`))).toContain(machine.cacheRoot);
      }
      expect(args.join(" ")).not.toMatch(/trusted|allow-unauthenticated/i);
    }
  });

  test("runs no apt the second time", async () => {
    await using machine = await withQemu();
    const first = await supply({ log: machine.log }, machine);
    machine.calls.length = 0;
    expect(await supply({ log: machine.log }, machine)).toEqual(first);
    expect(machine.calls.map(({ command }) => basename(command))).toEqual(["qemu-system-x86_64"]);
  });

  test("fetches again what is broken, and only that", async () => {
    await using machine = await withQemu();
    const { busybox } = await supply({ log: machine.log }, machine);
    await appendFile(busybox, "x");
    machine.calls.length = 0;
    const again = await supply({ log: machine.log }, machine);
    expect(Buffer.from(elfProgram()).equals(await readFile(again.busybox))).toBe(true);
    expect(machine.count("apt-get", "download")).toBe(1);
    expect(machine.count("apt-get", "update")).toBe(1);
    expect(machine.lines).toContainEqual(expect.stringContaining("busybox has another SHA-256"));
  });

  test("gives two calls at once whole supplies", async () => {
    await using machine = await withQemu();
    const [one, two] = await Promise.all([
      supply({ log: machine.log }, machine),
      supply({ log: machine.log }, machine),
    ]);
    expect(one).toEqual(two);
    expect((await readdir(machine.cacheRoot)).sort()).toEqual(["busybox", "kernel-6.1-v2", "kexec"]);
  });

  test("tries a broken download once more", async () => {
    await using machine = await withQemu();
    let refused = 0;
    machine.override = ({ args }) =>
      args.includes("download") && refused++ === 0
        ? { code: 100, stderr: "E: Failed to fetch http://archive.example/x.deb  Hash Sum mismatch\n" }
        : undefined;
    await supply({ log: machine.log }, machine);
    expect(machine.lines).toContainEqual(expect.stringMatching(/Hash Sum mismatch: fetching it again$/));
  });

  test("says that setpriv is missing before any guest is started", async () => {
    const programs = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "libvirtd", "virsh", "qemu-system-x86_64"];
    await using machine = await FakeMachine.create(programs);
    for (const attempt of [supply, fetchAll]) {
      const error = await lacking(attempt({ log: machine.log }, machine));
      expect(error.message).toBe(
        "The lab lacks:\n  setpriv: there is no setpriv in PATH (by hand: install util-linux)",
      );
    }
  });

  test("names everything that is missing, once, where there is no apt", async () => {
    await using machine = await FakeMachine.create([]);
    const error = await lacking(supply({ log: machine.log }, machine));
    expect(error.missing.map(({ what, option }) => [what, option])).toEqual([
      ["qemu", "--qemu FILE"],
      ["kernel 6.1", "--kernel FILE"],
      ["busybox", "--busybox FILE"],
      ["kexec", "--kexec FILE"],
      ["setpriv", "install util-linux"],
    ]);
    expect(error.message).toContain("kexec: there is no apt-get in PATH (by hand: --kexec FILE)");
    expect(machine.calls).toEqual([]);
  });

  test("takes the machine's own static busybox where none can be fetched", async () => {
    await using machine = await FakeMachine.create([]);
    const own = await machine.addProgram("busybox", elfProgram());
    const error = await lacking(supply({ log: machine.log }, machine));
    expect(error.missing.map(({ what }) => what)).not.toContain("busybox");
    expect(machine.lines).toEqual([`Using ${own}: there is no apt-get in PATH`]);
    await machine.addProgram("busybox", elfProgram("/lib64/ld.so"));
    expect((await lacking(supply({ log: machine.log }, machine))).missing.map(({ what }) => what)).toContain(
      "busybox",
    );
  });

  test("says that another processor's machine cannot fetch", async () => {
    await using machine = await withQemu();
    machine.cpu = "arm64";
    const error = await lacking(supply({ log: machine.log }, machine));
    expect(error.message).toContain("only an x86-64 machine can fetch it, this is arm64");
  });

  test.each([
    [
      "W: GPG error: http://archive.example trixie InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 1",
      "keyring lacks the key",
    ],
    [
      "E: The repository 'http://archive.example trixie Release' does not have a Release file.",
      "not in the archive (any more)",
    ],
    ["W: Failed to fetch http://archive.example/x  Could not resolve 'archive.example'", "Could not resolve"],
    ["", "it is not there (any more)"],
  ])("gives the reason %j where a suite is not to be had", async (stderr, reason) => {
    await using machine = await withQemu();
    machine.archive = { ...machine.archive, trixie: {} };
    machine.override = ({ args }) =>
      args.includes("update") ? { code: 0, stderr: `${stderr}\n` } : undefined;
    const error = await lacking(supply({ kernel: "6.12", log: machine.log }, machine));
    expect(error.missing.map(({ what }) => what)).toEqual(["kernel 6.12", "kexec"]);
    expect(error.missing[0]?.reason).toContain(reason);
  });

  test("uses what is given by hand, and fetches nothing for it", async () => {
    await using machine = await FakeMachine.create(["setpriv"]);
    const image = Buffer.alloc(0x400);
    image.write("HdrS", 0x202);
    image.writeUInt16LE(0x100, 0x20e);
    image.write("6.9.1-given (builder) #1", 0x300);
    const kexec = await machine.addProgram("my-kexec", elfProgram());
    machine.override = ({ command }) => (command === kexec ? { stderr: "kexec-tools 2.0.30\n" } : undefined);
    const options = {
      kernel: await machine.write("vmlinuz", image),
      busybox: await machine.write("busybox", elfProgram()),
      qemu: await machine.addProgram("qemu-system-x86_64"),
      kexec,
    };
    const supplies = await supply({ ...options, log: machine.log }, machine);
    expect(supplies).toEqual({
      kernel: { suite: "given", release: "6.9.1-given", vmlinuz: options.kernel, modules: [] },
      busybox: options.busybox,
      qemu: { path: options.qemu, version: "10.0.2" },
      kexec: { binary: kexec, version: "2.0.30", libraries: [], loader: undefined },
    });
    expect(await readdir(machine.cacheRoot)).toEqual([]);
  });

  test("says what is wrong with everything that is given by hand", async () => {
    await using machine = await FakeMachine.create(["setpriv"]);
    const dynamic = await machine.write("busybox", elfProgram("/lib64/ld.so"));
    const text = await machine.write("text", "x".repeat(2000));
    machine.override = () => ({ stderr: "not found" });
    const error = await lacking(
      supply({ kernel: text, busybox: dynamic, qemu: text, kexec: text, log: machine.log }, machine),
    );
    expect(error.missing.map(({ reason }) => reason)).toEqual([
      `${text} is no QEMU that runs: not found`,
      `${text} is not an x86 kernel image (bzImage)`,
      `${dynamic} is not static (it asks for /lib64/ld.so)`,
      `${text} is not an x86-64 ELF program`,
    ]);
  });

  test("takes an unknown series for a path, and says which series it knows", async () => {
    await using machine = await withQemu();
    const error = await lacking(supply({ kernel: "6.13", log: machine.log }, machine));
    expect(error.missing).toMatchObject([{ option: "--kernel FILE, or 5.10, 6.1, 6.12" }]);
    expect(error.missing[0]?.reason).toContain("there is no file");
  });

  test.each(["update", "download", "--extract"])(
    "leaves nothing half-made when interrupted at %s",
    async (word) => {
      await using machine = await withQemu();
      const controller = new AbortController();
      machine.override = ({ args }) => {
        if (args.includes(word)) controller.abort(new Error("Interrupted by the test"));
        return undefined;
      };
      const promise = supply({ log: machine.log, signal: controller.signal }, machine);
      await expect(promise).rejects.toThrow("Interrupted by the test");
      expect(await readdir(machine.cacheRoot)).toEqual([]);
    },
  );
});

describe("fetchAll", () => {
  test("fills the cache, reading each suite's lists once", async () => {
    await using machine = await FakeMachine.create();
    await machine.addProgram("qemu-system-x86_64");
    const fetched = await fetchAll({ log: machine.log }, machine);
    expect(fetched.kernels.map(({ suite }) => suite)).toEqual(["bullseye", "bookworm", "trixie"]);
    expect(machine.count("apt-get", "update")).toBe(3);
    expect((await readdir(machine.cacheRoot)).sort()).toEqual([
      "busybox",
      "kernel-5.10-v2",
      "kernel-6.1-v2",
      "kernel-6.12-v2",
      "kexec",
      "tools",
      "udev-bookworm",
      "udev-bullseye",
      "udev-trixie",
    ]);
    expect(fetched.udevs.map(({ suite }) => suite)).toEqual(["bullseye", "bookworm", "trixie"]);
  });

  test("runs no apt the second time", async () => {
    await using machine = await withQemu();
    const first = await fetchAll({ log: machine.log }, machine);
    machine.calls.length = 0;
    expect(await fetchAll({ log: machine.log }, machine)).toEqual(first);
    expect(machine.calls.map(({ command }) => basename(command))).toEqual(["qemu-system-x86_64"]);
  });

  test("keeps what it could fetch where one suite has gone", async () => {
    await using machine = await FakeMachine.create();
    await machine.addProgram("qemu-system-x86_64");
    const { bullseye: _, ...archive } = machine.archive;
    machine.archive = archive;
    const error = await lacking(fetchAll({ log: machine.log }, machine));
    expect(error.missing.map(({ what }) => what)).toEqual(["kernel 5.10", "udev of bullseye"]);
    expect(await readdir(machine.cacheRoot)).toHaveLength(7);
  });

  test("refuses a kernel of another series", async () => {
    await using machine = await FakeMachine.create();
    await machine.addProgram("qemu-system-x86_64");
    machine.archive = { ...machine.archive, bullseye: machine.archive["bookworm"] ?? {} };
    const error = await lacking(fetchAll({ log: machine.log }, machine));
    expect(error.missing[0]?.reason).toBe("the archive's bullseye has kernel 6.1.0-1-cloud-amd64, not 5.10");
  });

  test("does not take a file for the cache's directory", async () => {
    await using machine = await FakeMachine.create();
    await machine.write("cache/keep", "");
    await writeFile(join(machine.directory, "cache", "kdump-hotplug"), "");
    await expect(fetchAll({ log: machine.log }, machine)).rejects.toThrow("Cannot make the cache directory");
  });
});

describe("what a stranger's machine has against it", () => {
  test("no network: one line more says what all of it has in common", async () => {
    await using machine = await withQemu();
    machine.override = ({ args }) =>
      args.includes("update")
        ? {
            code: 100,
            stderr: "W: Failed to fetch http://a.example/x  Temporary failure resolving 'a.example'\n",
          }
        : args.includes("show")
          ? { code: 100 }
          : undefined;
    const { message } = await lacking(supply({ log: machine.log }, machine));
    expect(message.split("\n").at(-1)).toMatch(
      /^ {2}The archive was not reached: is there a network, or a proxy .*\? Then try again; /,
    );
  });

  test("an archive that answers gets no such line", async () => {
    await using machine = await withQemu();
    machine.override = ({ args }) => (args.includes("show") ? { code: 100 } : undefined);
    const { message } = await lacking(supply({ log: machine.log }, machine));
    expect(message).not.toContain("was not reached");
  });

  test.each([
    ["supply", (machine: FakeMachine) => supply({ log: machine.log }, machine)],
    ["fetchAll", (machine: FakeMachine) => fetchAll({ log: machine.log }, machine)],
  ])("a full disk (%s): which directory, and what to do", async (_, call) => {
    await using machine = await withQemu();
    machine.override = ({ command }) => {
      if (basename(command) !== "dpkg-deb") return undefined;
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    };
    await expect(call(machine)).rejects.toThrow(
      `There is no room in the cache directory "${machine.cacheRoot}" (ENOSPC): make room for `,
    );
    // What was begun is gone.
    expect(await readdir(machine.cacheRoot)).toEqual([]);
  });

  test("a QEMU that is not there is said so, without the words of the system call", async () => {
    await using machine = await withQemu();
    const { message } = await lacking(supply({ qemu: "/no/qemu", log: machine.log }, machine));
    expect(message).toBe("The lab lacks:\n  qemu: there is no file /no/qemu (by hand: --qemu FILE)");
  });
});
