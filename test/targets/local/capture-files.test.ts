/** Which capture kernel a distribution loads, read from files in the form of its own. */
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path/posix";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ReadTree } from "../../../src/layout/sysfs.ts";
import { debianCommandLine } from "../../../src/targets/local/capture-debian.ts";
import { fedoraCommandLine } from "../../../src/targets/local/capture-fedora.ts";
import { CaptureFilesError, findCaptureFiles } from "../../../src/targets/local/capture-files.ts";
import { parseShellAssignments, ShellFileError } from "../../../src/targets/local/shell-assignments.ts";

const fixture = (name: string): string =>
  readFileSync(new URL(`fixtures/${name}.txt`, import.meta.url), "utf8");

/** Files by their paths; an empty text is enough for one that only has to be there. */
function tree(files: Readonly<Record<string, string>>): ReadTree {
  return {
    readText: async (path) => files[path],
    list: async (path) =>
      Object.keys(files)
        .filter((file) => dirname(file) === path)
        .map((file) => basename(file)),
  };
}

const RELEASE = "6.1.0-56-cloud-amd64";
const DEBIAN = {
  "/etc/default/kdump-tools": fixture("kdump-tools"),
  "/proc/sys/kernel/osrelease": `${RELEASE}\n`,
  "/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz-x root=UUID=7 ro crashkernel=384M-:128M hugepages=4 quiet\n",
  "/var/lib/kdump/vmlinuz": "",
  "/var/lib/kdump/initrd.img": "",
};
const APPEND = "reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb";

const EL = "5.14.0-427.el9.x86_64";
const FEDORA = {
  "/etc/sysconfig/kdump": fixture("sysconfig-kdump"),
  "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
  "/proc/sys/kernel/osrelease": `${EL}\n`,
  "/proc/cmdline": `BOOT_IMAGE=(hd0,gpt2)/vmlinuz-${EL} root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M rd.lvm.lv=rhel/root rhgb quiet dyndbg="file a.c +p"\n`,
  "/proc/cpuinfo":
    "processor\t: 0\nvendor_id\t: X\napicid\t\t: 4\n\nprocessor\t: 1\nvendor_id\t: X\napicid\t\t: 6\n",
  [`/boot/vmlinuz-${EL}`]: "",
  [`/boot/initramfs-${EL}.img`]: "",
  [`/boot/initramfs-${EL}kdump.img`]: "",
};
const { "/proc/cmdline": _, ...WITHOUT_CMDLINE } = DEBIAN;

/** Debian's files with `line` added to the default file, and the running kernel installed. */
function debianWith(line: string): Record<string, string> {
  return {
    ...DEBIAN,
    "/etc/default/kdump-tools": `${fixture("kdump-tools")}\n${line}\n`,
    [`/boot/vmlinuz-${RELEASE}`]: "",
    [`/boot/initrd.img-${RELEASE}`]: "",
  };
}

function read(text: string): Record<string, string> {
  return Object.fromEntries(parseShellAssignments(text, "/etc/x"));
}

function outcome(text: string): string {
  try {
    read(text);
    return "read";
  } catch (error) {
    return error instanceof ShellFileError ? "refused" : String(error);
  }
}

describe("kdump-tools", () => {
  test("as it is installed loads its two links with the running command line, cleaned", async () => {
    const found = await findCaptureFiles(tree(DEBIAN));
    expect(found).toEqual({
      kernel: "/var/lib/kdump/vmlinuz",
      initrd: "/var/lib/kdump/initrd.img",
      commandLine: `BOOT_IMAGE=/boot/vmlinuz-x root=UUID=7 ro quiet ${APPEND}`,
      source: "kdump-tools (/etc/default/kdump-tools)",
      notes: [expect.stringContaining("lacks acpi_no_memhotplug")],
    });
  });

  test("that names a command line and what to append loads those", async () => {
    const files = debianWith(
      'KDUMP_CMDLINE="root=/dev/sda1 ro"\nKDUMP_CMDLINE_APPEND="nr_cpus=1 acpi_no_memhotplug"',
    );
    const { commandLine, notes } = await findCaptureFiles(tree(files));
    expect(commandLine).toBe("root=/dev/sda1 ro nr_cpus=1 acpi_no_memhotplug");
    expect(notes).toEqual([]);
  });

  test("that names no kernel loads the running one", async () => {
    const found = await findCaptureFiles(tree(debianWith("KDUMP_KERNEL=\nKDUMP_INITRD=")));
    expect(found).toMatchObject({
      kernel: `/boot/vmlinuz-${RELEASE}`,
      initrd: `/boot/initrd.img-${RELEASE}`,
    });
  });

  test("that is off, or gives kexec options, is noted", async () => {
    const { notes } = await findCaptureFiles(
      tree(debianWith('USE_KDUMP=0\nKDUMP_KEXEC_ARGS="--noefi"\nKDUMP_CMDLINE_APPEND=acpi_no_memhotplug')),
    );
    expect(notes).toEqual([
      "USE_KDUMP is off in /etc/default/kdump-tools",
      "KDUMP_KEXEC_ARGS (--noefi) are options of kexec, and are not used by the system call",
    ]);
  });

  test("whose kernel or initrd is not there is an error that names it", async () => {
    const { "/var/lib/kdump/initrd.img": __, ...noInitrd } = DEBIAN;
    await expect(findCaptureFiles(tree(noInitrd))).rejects.toThrow(
      "there is no /var/lib/kdump/initrd.img, the initrd of kdump-tools (/etc/default/kdump-tools); let the distribution make it, or name the kernel",
    );
    const files = debianWith("KDUMP_KERNEL=/boot/other");
    await expect(findCaptureFiles(tree(files))).rejects.toThrow(
      "there is no /boot/other, the kernel of kdump-tools",
    );
    await expect(findCaptureFiles(tree({ "/etc/default/kdump-tools": "USE_KDUMP=1" }))).rejects.toThrow(
      "/etc/default/kdump-tools names none, and none of the running kernel's was found",
    );
  });

  test("takes out whole parameters only", () => {
    expect(debianCommandLine("crashkernel=1G-:1G a hugepages=1 hugepagesz=2M crashkernel=2M,low b")).toBe(
      "a b",
    );
    expect(debianCommandLine("nocrashkernel=1 xhugepages=2")).toBe("nocrashkernel=1 xhugepages=2");
  });

  test("where the running command line cannot be read has nothing of it", async () => {
    await expect(findCaptureFiles(tree(WITHOUT_CMDLINE))).resolves.toMatchObject({ commandLine: APPEND });
  });
});

describe("kdumpctl", () => {
  const LINE = `BOOT_IMAGE=(hd0,gpt2)/vmlinuz-${EL} ro rhgb dyndbg="file a.c +p" irqpoll nr_cpus=1 reset_devices cgroup_disable=memory mce=off numa=off udev.children-max=2 panic=10 acpi_no_memhotplug transparent_hugepage=never nokaslr hest_disable novmcoredd cma=0 hugetlb_cma=0 pcie_ports=compat disable_cpu_apicid=4 rd.systemd.gpt_auto=no`;

  test("as it is installed loads the running kernel with kdump's own initrd", async () => {
    await expect(findCaptureFiles(tree(FEDORA))).resolves.toEqual({
      kernel: `/boot/vmlinuz-${EL}`,
      initrd: `/boot/initramfs-${EL}kdump.img`,
      commandLine: LINE,
      source: "kdumpctl (/etc/sysconfig/kdump)",
      notes: [],
    });
  });

  test("where /boot cannot be written to has its initrd in /var/lib/kdump", async () => {
    const { [`/boot/initramfs-${EL}kdump.img`]: __, ...rest } = FEDORA;
    const path = `/var/lib/kdump/initramfs-${EL}kdump.img`;
    await expect(findCaptureFiles(tree({ ...rest, [path]: "" }))).resolves.toMatchObject({ initrd: path });
    await expect(findCaptureFiles(tree(rest))).rejects.toThrow(`there is no /boot/initramfs-${EL}kdump.img`);
  });

  test("finds kernels of the boot loader specification", async () => {
    const { [`/boot/vmlinuz-${EL}`]: __, ...rest } = FEDORA;
    const directory = `/boot/efi/0123456789abcdef0123456789abcdef/${EL}`;
    const files = { ...rest, [`${directory}/vmlinuz`]: "", [`${directory}/initrdkdump`]: "" };
    await expect(findCaptureFiles(tree(files))).resolves.toMatchObject({
      kernel: `${directory}/vmlinuz`,
      initrd: `${directory}/initrdkdump`,
    });
  });

  test("does not load a kernel for debugging where the plain one is installed", async () => {
    const files = { ...FEDORA, "/proc/sys/kernel/osrelease": `${EL}+debug\n` };
    await expect(findCaptureFiles(tree(files))).rejects.toThrow("none of the running kernel's was found");
    await expect(
      findCaptureFiles(tree({ ...files, [`/usr/lib/modules/${EL}/modules.dep`]: "" })),
    ).resolves.toMatchObject({ kernel: `/boot/vmlinuz-${EL}` });
  });

  test("tells watchdogs more than this does, and that is noted", async () => {
    const { notes } = await findCaptureFiles(tree({ ...FEDORA, "/sys/class/watchdog/watchdog0": "" }));
    expect(notes).toEqual([expect.stringContaining("watchdog")]);
  });

  test("keeps quoted parameters whole, and drops those without a value", () => {
    expect(fedoraCommandLine('a="x y" b= root=/dev/sda c', 'a="other value" nothing', "d", undefined)).toBe(
      "c d rd.systemd.gpt_auto=no",
    );
  });
});

describe("what is named", () => {
  test("in full needs no distribution", async () => {
    const files = tree({ "/k": "", "/i": "" });
    await expect(
      findCaptureFiles(files, { kernel: "/k", initrd: "/i", commandLine: "acpi_no_memhotplug" }),
    ).resolves.toEqual({
      kernel: "/k",
      initrd: "/i",
      commandLine: "acpi_no_memhotplug",
      source: "what was named",
      notes: [],
    });
  });

  test("as a kernel alone has no initrd: the distribution's is for another kernel", async () => {
    await expect(findCaptureFiles(tree({ ...DEBIAN, "/k": "" }), { kernel: "/k" })).resolves.toMatchObject({
      kernel: "/k",
      initrd: undefined,
      source: expect.stringContaining("named"),
    });
  });

  test("in part takes the place of the distribution's part", async () => {
    await expect(
      findCaptureFiles(tree({ ...DEBIAN, "/i": "" }), { initrd: "/i", commandLine: "x" }),
    ).resolves.toMatchObject({ kernel: "/var/lib/kdump/vmlinuz", initrd: "/i", commandLine: "x" });
  });

  test("not enough, on a system without either file, is told to be", async () => {
    const finding = findCaptureFiles(tree({}), { kernel: "/k" });
    await expect(finding).rejects.toThrow(CaptureFilesError);
    await expect(finding).rejects.toThrow(
      "there is neither /etc/default/kdump-tools (Debian, Ubuntu) nor /etc/sysconfig/kdump (RHEL, Fedora)",
    );
  });
});

describe("shell assignments", () => {
  test("are read as a shell would", () => {
    expect(
      read(
        [
          "# comment with 'quotes \" and $x",
          "A=plain # more",
          "  export B='single $A `x` \\'",
          'C="double \\"q\\" \\$A \\\\ \\n ${A} $A."',
          "D=a\\ b'c d'\"e\"",
          "E=",
          'F="two \\',
          'lines"',
          "G=x;H=y#z",
          "A=last",
          'I="$A"',
        ].join("\n"),
      ),
    ).toEqual({
      A: "last",
      B: "single $A `x` \\",
      C: 'double "q" $A \\ \\n plain plain.',
      D: "a bc de",
      E: "",
      F: "two lines",
      G: "x",
      H: "y#z",
      I: "last",
    });
  });

  test.each([
    ["if [ -e /x ]; then", "is no assignment"],
    ["A=1 command", "is more than an assignment"],
    ["A=(1 2)", "is more than an assignment"],
    ["A=1 && B=2", "is more than an assignment"],
    ["A=$(uname -r)", "has an expansion that only a shell can do"],
    ['A="`uname -r`"', "runs a command"],
    ["A=`uname -r`", "runs a command"],
    ["A=${B:-x}", "has an expansion that only a shell can do"],
    ["A=$B", "refers to $B, which the file has not set before"],
    ["A+=x", "is no assignment"],
    ['A="x', 'has a " that is not closed'],
    ["A='x", "has a ' that is not closed"],
  ])("are not guessed at: %s", (line, words) => {
    const reading = (): unknown => read(`# first\nX=1\n${line}\nY=2\n`);
    expect(reading).toThrow(ShellFileError);
    expect(reading).toThrow(`Cannot read /etc/x: line 3, ${JSON.stringify(line)}, ${words}`);
  });

  test("give back any value that was quoted", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.boolean(), (value, single) => {
        const quoted = single
          ? `'${value.replaceAll("'", "'\\''")}'`
          : `"${value.replaceAll(/["\\$`]/g, "\\$&")}"`;
        expect(read(`A=${quoted}\nB=1`)).toEqual({ A: value, B: "1" });
      }),
    );
  });

  test("of any text are read or refused", () => {
    const piece = fc.oneof(
      fc.string(),
      fc.constantFrom("A=", "\n", "'", '"', "\\", "$A", "${", "`", "#", ";", "export "),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        expect(outcome(pieces.join(""))).toMatch(/^(read|refused)$/);
      }),
    );
  });
});
