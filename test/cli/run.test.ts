import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Interrupted } from "../../src/cli/context.ts";
import { run } from "../../src/cli/run.ts";
import { encodeCoreHeader } from "../../src/elfcore/encode.ts";
import { sample } from "../elfcore/samples.ts";
import { GREETING, startFakeQmp, startPeer } from "../targets/qemu/fake-qmp.ts";

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function ended(args: readonly string[], signal = new AbortController().signal): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const print = (text: string): void => void (stdout += text);
  const say = (line: string): void => void (stderr += `${line}\n`);
  return { code: await run(args, { print, say, signal }, "1.2.3"), stdout, stderr };
}

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-test-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("help", () => {
  it.each([
    ["--help"],
    ["help"],
    ["audit", "--help"],
    ["keep", "--help"],
    ["plug", "--help"],
    ["inspect", "--help"],
    ["lab", "fetch", "--help"],
    ["lab", "run", "--help"],
  ])("of %j goes to stdout, exit code 0", async (...args) => {
    const { code, stdout, stderr } = await ended(args);
    expect(code).toBe(0);
    expect(stdout).toContain("Usage: kdump-hotplug");
    expect(stderr).toBe("");
  });

  it("shows the exit codes", async () => {
    expect((await ended(["--help"])).stdout).toContain("128  the guest was lost");
  });

  it("is not the version, which goes to stdout too", async () => {
    expect(await ended(["--version"])).toEqual({ code: 0, stdout: "1.2.3\n", stderr: "" });
  });
});

describe("wrong usage", () => {
  it.each([
    [[], /^kdump-hotplug keeps kernel crash dumps complete/],
    [["lab"], /Usage/],
    [["frobnicate"], /unknown command 'frobnicate'/],
    [["lab", "frobnicate"], /unknown command 'frobnicate'/],
    [["audit"], /missing required argument 'target'/],
    [["audit", "qmp:/a", "qmp:/b"], /too many arguments/],
    [["audit", "--frobnicate", "qmp:/a"], /unknown option '--frobnicate'/],
    [["audit", "qmp:/a", "--header-address", "12"], /expected an address in hex/],
    [["audit", "qmp:/a", "--crash-memory", "0x2-0x1"], /expected a range whose end/],
    [["plug", "qmp:/a"], /Give either --memory SIZE or --cpus N/],
    [["plug", "qmp:/a", "--memory", "1G", "--cpus", "1"], /Give either --memory SIZE or --cpus N/],
    [["plug", "qmp:/a", "--cpus", "0"], /expected a whole number/],
    [["plug", "qmp:/a", "--memory", "big"], /expected a size/],
    [["plug", "qmp:/a", "--memory", "1G", "--count", "0"], /expected a whole number/],
    [["plug", "qmp:/a", "--memory", "64M"], /expected a multiple of 128 MiB/],
    [["plug", "qmp:/a", "--memory", "3"], /expected a multiple of 128 MiB/],
    [["lab", "run", "--dimm", "1K"], /expected a multiple of 128 MiB/],
    [["lab", "run", "--ram", "1K"], /expected whole MiB/],
    [["lab", "run", "--load", "reboot"], /Allowed choices are kexec_file_load, kexec_load/],
    [["lab", "run", "--only", "us"], /Allowed choices/],
    [["lab", "run", "--policy", "rhel9"], /expected one of none, rhel7, rhel8, .*, all/],
    [["lab", "run", "--policy", "none", "--policy", "us"], /argument 'us' is invalid/],
    [["lab", "run", "--policy", "all", "--private-ram"], /leave out --only, --private-ram/],
    [["lab", "run", "--policy", "all", "--only", "plug"], /leave out --only, --private-ram/],
    [["lab", "run", "--policy", "all", "--dimm", "64M"], /expected a multiple of 128 MiB/],
    [["lab", "run", "--udev", "trixie"], /--udev goes with --policy/],
    [["lab", "run", "--policy", "none", "--udev", "sid"], /Allowed choices are bullseye, bookworm, trixie/],
  ])("%j says what is wrong on stderr, exit code 2", async (args, words) => {
    const { code, stdout, stderr } = await ended(args);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(words);
  });

  it.each(["Local", "local:", "qmp:", "vnc:/x", "QMP:/x"])(
    "a target %j is refused in one line",
    async (target) => {
      const { code, stderr } = await ended(["audit", target]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^Cannot use ".*" as a target: expected qmp:PATH.*\n$/);
    },
  );

  it("that could move the cursor is shown escaped", async () => {
    const { code, stderr } = await ended(["audit", "qmp:/nowhere/\u001b[2J"]);
    expect(code).toBe(2);
    expect(stderr).toContain("\\u001b[2J");
    expect(stderr).not.toContain("\u001b");
  });
});

describe("a command", () => {
  it("inspects a file, as text and as JSON", async () => {
    const path = join(directory, "header");
    await writeFile(path, encodeCoreHeader(sample));
    const text = await ended(["inspect", path]);
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout).toContain("kernel-text");
    const json = await ended(["inspect", path, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ schemaVersion: 1, file: path, kind: "core-header" });
  });

  it("names a file that is not there, exit code 2", async () => {
    const { code, stderr } = await ended(["inspect", join(directory, "absent")]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^There is no file .*absent.*\n$/);
  });

  it("whose QEMU ends in the middle tells it in one line, exit code 128", async () => {
    const peer = await startFakeQmp({ "qom-list": (_args, socket) => void socket.destroy() });
    const { code, stderr } = await ended(["audit", `qmp:${peer.path}`]);
    await peer.stop();
    expect(code).toBe(128);
    expect(stderr).toMatch(/^QEMU closed the connection at .*\n$/);
  });

  it("whose QEMU ends right after its greeting tells it, exit code 128", async () => {
    const peer = await startPeer((socket) => {
      socket.write(GREETING);
      socket.once("data", () => socket.destroy());
    });
    const { code, stderr } = await ended(["audit", `qmp:${peer.path}`]);
    await peer.stop();
    expect(code).toBe(128);
    expect(stderr).toMatch(/^QEMU closed the connection at .*\n$/);
  });

  it("that is interrupted says so, exit code 130", async () => {
    const controller = new AbortController();
    const peer = await startFakeQmp({
      "qom-list": () => {
        controller.abort(new Interrupted("Interrupted by SIGINT"));
        return [];
      },
    });
    const result = await ended(["keep", "--once", `qmp:${peer.path}`], controller.signal);
    await peer.stop();
    expect(result).toEqual({ code: 130, stdout: "", stderr: "Interrupted; nothing was left half done\n" });
  });
});
