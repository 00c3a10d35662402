/** The machine that a guest is, and how QEMU is told. */
import { join } from "node:path";

/** The machine that a guest is, whatever it is booted with. Sizes in MiB. */
export interface GuestMachine {
  readonly ramMiB: number;
  readonly crashkernelMiB: number;
  /** `shared`: RAM in a file that others can map, as hosts with DPDK or virtiofs have it; `private`: QEMU's default. */
  readonly ram: "shared" | "private";
  /** CPUs at the start. Default 2. */
  readonly cpus?: number | undefined;
  /** NUMA nodes that share the RAM, and the CPU slots in turn; without it the machine has no NUMA. */
  readonly nodes?: number | undefined;
  /**
   * What the kernel does with memory that is added: it brings it online, for movable pages only or for any, or leaves
   * that to udev. Only movable memory can be removed for certain. Default `online`.
   */
  readonly addedMemory?: "online" | "online_movable" | "offline" | undefined;
  /** DIMMs that are there from the start, without an id, in MiB. */
  readonly coldDimmsMiB?: readonly number[] | undefined;
  /** A virtio-mem device `vmem0` that has given nothing at the start. */
  readonly virtioMem?: VirtioMem | undefined;
  /** A file on this machine that the guest, and its capture kernel, has as the NVMe disk /dev/nvme0n1. */
  readonly disk?: string | undefined;
  /** More kernel parameters. */
  readonly append?: string | undefined;
  /** Instead of a memfd: the file, of the guest's size, that holds shared RAM. Whoever names it removes it. */
  readonly ramFile?: string | undefined;
}

/** A virtio-mem device. */
export interface VirtioMem {
  /** What it can give, MiB. */
  readonly mib: number;
  /**
   * Whether the guest may not even read what is not plugged: QEMU's default since its machine types of 7.1, which
   * drivers older than Linux 5.18 refuse (VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE).
   */
  readonly inaccessible: boolean;
}

/** What such a machine is started with. */
interface StartedWith extends GuestMachine {
  readonly vmlinuz: string;
  readonly initramfs: string;
  readonly accelerator: { readonly current: string };
}

/** QEMU's arguments; its sockets and logs lie in `directory`. */
export function qemuArguments(options: StartedWith, directory: string): readonly string[] {
  const { ramMiB, virtioMem } = options;
  const crashkernel = options.crashkernelMiB > 0 ? `crashkernel=${options.crashkernelMiB}M ` : "";
  const groups: readonly (readonly string[])[] = [
    ["-cpu", "max,phys-bits=44", "-m", `${ramMiB}M,slots=256,maxmem=600G`],
    ["-smp", `${options.cpus ?? 2},sockets=${SOCKETS},cores=1,threads=1,maxcpus=${SOCKETS}`],
    ...machineAndRam(options),
    ...(options.coldDimmsMiB ?? []).map((mib, i) => [
      "-object",
      `${anonymousMemory(options.ram)},id=cold${i},size=${mib}M`,
      "-device",
      `pc-dimm,memdev=cold${i}`,
    ]),
    ...(virtioMem === undefined
      ? []
      : [
          ["-object", `${anonymousMemory(options.ram)},id=vmem0-ram,size=${virtioMem.mib}M,reserve=off`],
          [
            "-device",
            `virtio-mem-pci,id=vmem0,memdev=vmem0-ram,requested-size=0,unplugged-inaccessible=${virtioMem.inaccessible ? "on" : "off"}`,
          ],
        ]),
    ["-nographic", "-nodefaults", "-no-reboot"],
    ["-serial", `file:${join(directory, "console.log")}`],
    ["-serial", `unix:${join(directory, "agent.sock")},server=on,wait=off`],
    ["-qmp", `unix:${join(directory, "qmp.sock")},server=on,wait=off,logfile=${join(directory, "qmp.log")}`],
    [
      "-qmp",
      `unix:${join(directory, "lab.sock")},server=on,wait=off,logfile=${join(directory, "lab-qmp.log")}`,
    ],
    ["-kernel", options.vmlinuz, "-initrd", options.initramfs],
    ...(options.disk === undefined ? [] : diskArguments(options.disk)),
    [
      "-append",
      `console=ttyS0 ${crashkernel}memhp_default_state=${options.addedMemory ?? "online"} panic=5 ${options.append ?? ""}`.trim(),
    ],
  ];
  return groups.flat();
}

/** CPU slots. */
const SOCKETS = 8;

/** Memory of no file that would be left behind. */
function anonymousMemory(ram: GuestMachine["ram"]): string {
  return ram === "shared" ? "memory-backend-memfd,share=on" : "memory-backend-ram";
}

function machineAndRam(options: StartedWith): readonly (readonly string[])[] {
  const { ramMiB, ram, ramFile, nodes, accelerator } = options;
  const backend =
    ramFile === undefined ? anonymousMemory(ram) : `memory-backend-file,share=on,mem-path=${ramFile}`;
  const machine = `q35,accel=${accelerator.current}`;
  const object = (id: number, size: number): string => `${backend},id=ram${id},size=${size}M`;
  if (nodes === undefined)
    return [
      ["-machine", `${machine},memory-backend=ram0`],
      ["-object", object(0, ramMiB)],
    ];
  const all = Array.from({ length: nodes }, (_, node) => node);
  const sockets = Array.from({ length: SOCKETS }, (_, socket) => socket);
  return [
    ["-machine", machine],
    ...all.map((node) => ["-object", object(node, ramMiB / nodes)]),
    ...all.map((node) => ["-numa", `node,nodeid=${node},memdev=ram${node}`]),
    ...sockets.map((socket) => ["-numa", `cpu,node-id=${socket % nodes},socket-id=${socket}`]),
  ];
}

/** NVMe, because Debian's cloud kernels have it built in, and virtio_blk as a module. */
function diskArguments(path: string): readonly (readonly string[])[] {
  // A comma in a value is written twice.
  const file = path.replaceAll(",", ",,");
  return [
    ["-drive", `file=${file},if=none,id=disk0,format=raw,cache=unsafe`],
    ["-device", "nvme,drive=disk0,serial=kdump-hotplug"],
  ];
}
