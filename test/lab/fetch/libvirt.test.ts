import { basename } from "node:path";
import { expect, test } from "vitest";
import { SupplyError } from "../../../src/lab/fetch/errors.ts";
import type { RunResult } from "../../../src/lab/fetch/run.ts";
import { supply } from "../../../src/lab/fetch/supplies.ts";
import { FakeMachine } from "./fake-machine.ts";

const PROGRAMS = ["apt-get", "apt-cache", "dpkg", "dpkg-deb", "setpriv", "qemu-system-x86_64"];

test("libvirt that is there is taken, and nothing is installed", async () => {
  await using machine = await FakeMachine.create([...PROGRAMS, "libvirtd", "virsh"]);
  const { libvirt } = await supply({ libvirt: true, log: machine.log }, machine);
  expect([libvirt!.libvirtd, libvirt!.virsh].map((path) => basename(path))).toEqual(["libvirtd", "virsh"]);
  expect(machine.count("env", "libvirt-daemon")).toBe(0);
});

test("libvirt that is missing is installed from the machine's own suite, without what is recommended", async () => {
  await using machine = await FakeMachine.create(PROGRAMS);
  const install = async (): Promise<Partial<RunResult>> => {
    await machine.addProgram("libvirtd");
    await machine.addProgram("virsh");
    return {};
  };
  machine.override = ({ command, args }) =>
    basename(command) === "env" && args.includes("libvirt-daemon") ? install() : undefined;
  const { libvirt } = await supply({ libvirt: true, log: machine.log }, machine);
  expect(libvirt).toBeDefined();
  const { args } = machine.calls.find((call) => call.args.includes("libvirt-daemon"))!;
  expect(args.slice(args.indexOf("install"))).toEqual([
    "install",
    "--yes",
    "--no-install-recommends",
    "--target-release",
    "bookworm",
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-clients",
  ]);
});

test("libvirt that may not be installed, or is not there afterwards, is named among what is missing", async () => {
  await using machine = await FakeMachine.create(PROGRAMS);
  machine.override = ({ args }) => (args.includes("libvirt-daemon") ? {} : undefined);
  for (const [install, reason] of [
    [false, "it may not be installed: that was ruled out"],
    [true, "apt installed libvirt, and yet libvirtd or virsh is not in PATH"],
  ] as const) {
    const error: unknown = await supply({ libvirt: true, install, log: machine.log }, machine).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(SupplyError);
    expect(error).toMatchObject({ missing: [{ what: "libvirt", reason }] });
  }
});
