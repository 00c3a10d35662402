/** Devices that libvirt adds. */
import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

import { openLibvirtMachine } from "../../../src/targets/libvirt/machine.ts";
import type { QemuMachine } from "../../../src/targets/qemu/machine.ts";
import { type FakeLibvirt, startFakeLibvirt } from "./fake-libvirt.ts";

let fake: FakeLibvirt;
let machine: QemuMachine;
let xml = "";
let file = "";
let refusal: string | undefined;
let devices: object[] = [];
let cpus = 0;
let objects: { readonly name: string; readonly type: string }[] = [];

beforeEach(async () => {
  [xml, file, refusal, devices, cpus] = ["", "", undefined, [], 1];
  objects = [{ name: "ram0", type: "child<memory-backend-ram>" }];
  fake = await startFakeLibvirt({
    guest: {
      handlers: {
        "query-memory-devices": () => devices,
        "query-hotpluggable-cpus": () =>
          [0, 1, 2].map((socket) => ({
            type: "max-x86_64-cpu",
            "vcpus-count": 1,
            props: { "socket-id": socket },
            ...(socket < cpus
              ? {
                  "qom-path":
                    socket === 0 ? "/machine/unattached/device[0]" : `/machine/peripheral/vcpu${socket}`,
                }
              : {}),
          })),
        "qom-list": () => objects,
      },
    },
    answer: ([command, domain, ...words]) => {
      if (command !== "attach-device" && command !== "setvcpus") return undefined;
      if (domain !== "7" || words[1] !== "--live") return { error: "it is another domain, or for good" };
      if (refusal !== undefined) return { error: refusal };
      if (command === "setvcpus") {
        cpus = Number(words[0]);
        return {};
      }
      file = words[0]!;
      xml = readFileSync(file, "utf8");
      devices.push({
        type: "dimm",
        data: {
          id: "dimm0",
          memdev: "/objects/memdimm0",
          addr: 0x1_0000_0000,
          size: 0x800_0000,
          slot: 0,
          node: 0,
          hotpluggable: true,
          hotplugged: true,
        },
      });
      return { stdout: "Device attached successfully\n\n" };
    },
  });
  machine = await openLibvirtMachine("guest", { env: fake.env });
});
afterEach(async () => {
  await machine[Symbol.asyncDispose]();
  await fake.stop();
});

it("a DIMM is attached by its XML, while the guest stands still, and named as libvirt names it", async () => {
  const dimm = await machine.allocateDimm(0x800_0000n);
  const added: string[] = [];
  await machine.paused(async () => await dimm.plug((id) => added.push(id)));
  expect(added).toEqual(["dimm0"]);
  expect(xml).toBe(
    "<memory model='dimm'><target><size unit='b'>134217728</size><node>0</node></target></memory>\n",
  );
  expect(existsSync(dirname(file))).toBe(false);
  const own = new Set(["suspend", "attach-device", "resume"]);
  expect(fake.calls.map(([command = ""]) => command).filter((command) => own.has(command))).toEqual([
    "suspend",
    "attach-device",
    "resume",
  ]);
  expect(fake.guest.log).not.toContain("object-add");
});

it("what libvirt refuses is told in its words, and nothing is left behind", async () => {
  refusal =
    "Failed to attach device: unsupported configuration: attaching memory device would exceed maximum memory";
  const dimm = await machine.allocateDimm(0x800_0000n);
  const plugging = machine.paused(async () => await dimm.plug(() => undefined));
  await expect(plugging).rejects.toMatchObject({
    name: "PlugError",
    message: `Cannot plug a DIMM of 134217728 bytes: libvirt says "${refusal}"`,
  });
  await dimm.free();
  expect(fake.guest.state.running).toBe(true);
  await expect(machine.plugCpu(() => undefined)).rejects.toThrow(/^Cannot plug a CPU: libvirt says/);
});

it("a CPU is added by its count, and named", async () => {
  const added: string[] = [];
  await machine.plugCpu((id) => added.push(id));
  await machine.plugCpu((id) => added.push(id));
  expect(added).toEqual(["vcpu1", "vcpu2"]);
});

it("a DIMM's backend is libvirt's to take away", async () => {
  const dimm = await machine.allocateDimm(0x800_0000n);
  await dimm.plug(() => undefined);
  objects.push({ name: "memdimm0", type: "child<memory-backend-ram>" });
  const [removable] = await machine.removableDimms();
  expect(removable).toMatchObject({ name: "dimm0" });
  devices = [];
  setTimeout(() => void objects.pop(), 300);
  expect(await removable!.releaseBackend()).toEqual({ fate: "deleted" });
  expect(fake.guest.log).not.toContain("object-del");
});
