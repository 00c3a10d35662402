import { readdir } from "node:fs/promises";
import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { openCache } from "../../../src/lab/fetch/cache.ts";
import { FetchError } from "../../../src/lab/fetch/errors.ts";
import { isRecent, parsePolicy } from "../../../src/lab/fetch/qemu.ts";
import { supplyQemu } from "../../../src/lab/fetch/qemu-supply.ts";
import type { QemuSupply } from "../../../src/lab/fetch/qemu.ts";
import type { RunResult } from "../../../src/lab/fetch/run.ts";
import { readOwnSources } from "../../../src/lab/fetch/suites.ts";
import { Workshop } from "../../../src/lab/fetch/workshop.ts";
import { FakeMachine, type Call } from "./fake-machine.ts";

const BACKPORTS = "1:10.0.2+ds-2+deb13u1~bpo12+1";
const OWN = "1:7.2+dfsg-7+deb12u18";

function policyText(
  installed: string,
  offers: readonly (readonly [version: string, suite: string])[],
): string {
  const table = offers.map(([version, suite]) =>
    [
      `${version === installed ? " *** " : "     "}${version} 500`,
      `        500 http://archive.example/debian ${suite}/main amd64 Packages`,
      ...(version === installed ? ["        100 /var/lib/dpkg/status"] : []),
    ].join("\n"),
  );
  return `qemu-system-x86:\n  Installed: ${installed}\n  Candidate: x\n  Version table:\n${table.join("\n")}\n`;
}

interface Situation {
  /** QEMU's version before and after an installation; absent: there is none. */
  readonly before?: string;
  readonly after: string;
  readonly policy: string;
  readonly packaged?: boolean;
  /** What happens when apt installs. */
  readonly install?: Partial<RunResult>;
}

/** A machine on which QEMU's version changes when apt installs it. */
async function machineWith(situation: Situation): Promise<FakeMachine> {
  const machine = await FakeMachine.create();
  if (situation.before !== undefined) await machine.addProgram("qemu-system-x86_64");
  let version = situation.before;
  const answer = async ({ command, args }: Call): Promise<Partial<RunResult>> => {
    if (basename(command) === "qemu-system-x86_64")
      return { stdout: `QEMU emulator version ${version} (Debian x)\n` };
    if (args.includes("policy")) return { stdout: situation.policy };
    // The fake's order of versions is that of these tests' two: 10 is newer than 7.
    if (args[0] === "--compare-versions")
      return { code: args[1] === BACKPORTS && args[3] !== BACKPORTS ? 0 : 1 };
    if (args[0] === "--search") return { code: situation.packaged === false ? 1 : 0 };
    if (args.includes("install") && situation.install !== undefined) return situation.install;
    if (args.includes("install")) {
      version = situation.after;
      await machine.addProgram("qemu-system-x86_64");
    }
    return {};
  };
  machine.override = answer;
  return machine;
}

async function supplied(machine: FakeMachine, install = true): Promise<QemuSupply> {
  const cache = await openCache(machine.cacheRoot, machine.log);
  const context = { machine, cache, log: machine.log };
  const workshop = new Workshop(context, await readOwnSources(machine));
  try {
    return await supplyQemu(context, () => Promise.resolve(workshop), install);
  } finally {
    await workshop.close();
  }
}

/** The words of the command that installed QEMU, without apt's settings. */
function installation(machine: FakeMachine): string | undefined {
  const call = machine.calls.find(({ args }) => args.includes("install"));
  if (call === undefined) return undefined;
  const { command, args } = call;
  return [basename(command), ...args.filter((word, index) => word !== "-o" && args[index - 1] !== "-o")].join(
    " ",
  );
}

const both = [
  [BACKPORTS, "bookworm-backports"],
  [OWN, "bookworm"],
] as const;
const INSTALL =
  "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends --target-release";

describe("QEMU", () => {
  test("is used as it is where it is recent, without apt", async () => {
    await using machine = await machineWith({ before: "8.2.0", after: "", policy: "" });
    expect((await supplied(machine)).version).toBe("8.2.0");
    expect(machine.calls).toHaveLength(1);
  });

  test("is installed from backports where they have the newest, on the system's own state", async () => {
    await using machine = await machineWith({ after: "10.0.2", policy: policyText("(none)", both) });
    expect((await supplied(machine)).version).toBe("10.0.2");
    expect(installation(machine)).toBe(`${INSTALL} bookworm-backports qemu-system-x86`);
    const args = machine.calls.find((call) => call.args.includes("install"))?.args.join(" ") ?? "";
    expect(args).not.toContain("Dir::State::status");
    expect(args).not.toContain("Dir::State=");
    expect(args).toContain(`Dir::State::lists=${machine.cacheRoot}`);
    expect(await readdir(machine.cacheRoot)).toEqual([]);
  });

  test("is installed from the machine's own suite where there are no backports", async () => {
    await using machine = await machineWith({
      after: "7.2.22",
      policy: policyText("(none)", [[OWN, "bookworm"]]),
    });
    expect((await supplied(machine)).version).toBe("7.2.22");
    expect(installation(machine)).toBe(`${INSTALL} bookworm qemu-system-x86`);
    expect(machine.lines).toContainEqual(expect.stringContaining("7.2.22 is the newest here"));
  });

  test("is replaced where it is old and backports have a newer one", async () => {
    await using machine = await machineWith({
      before: "7.2.22",
      after: "10.0.2",
      policy: policyText(OWN, both),
    });
    expect((await supplied(machine)).version).toBe("10.0.2");
    expect(machine.lines).toContain(`Installing qemu-system-x86 ${BACKPORTS} of bookworm-backports`);
  });

  test("is left alone where it is old and the newest there is", async () => {
    await using machine = await machineWith({
      before: "7.2.22",
      after: "",
      policy: policyText(OWN, [[OWN, "bookworm"]]),
    });
    expect((await supplied(machine)).version).toBe("7.2.22");
    expect(installation(machine)).toBeUndefined();
  });

  test.each<readonly [string, Partial<Situation>, boolean, string]>([
    ["is somebody's own build", { packaged: false }, true, "is not Debian's"],
    ["may not be replaced", {}, false, "it may not be installed"],
    ["cannot be replaced", { install: { code: 100, stderr: "E: Unable to lock\n" } }, true, "Unable to lock"],
  ])("is used though old where it %s", async (_, more, install, reason) => {
    const situation = { before: "7.2.22", after: "10.0.2", policy: policyText(OWN, both), ...more };
    await using machine = await machineWith(situation);
    expect((await supplied(machine, install)).version).toBe("7.2.22");
    expect(machine.lines.at(-1)).toMatch(/^Keeping QEMU 7\.2\.22, which is old: /);
    expect(machine.lines.at(-1)).toContain(reason);
  });

  test("goes through sudo where that asks for no password", async () => {
    await using machine = await machineWith({ after: "10.0.2", policy: policyText("(none)", both) });
    machine.uid = 1000;
    await machine.addProgram("sudo");
    await supplied(machine);
    expect(installation(machine)).toBe(`sudo -n ${INSTALL} bookworm-backports qemu-system-x86`);
  });

  test("is missing where neither root nor sudo is there, or sudo wants a password", async () => {
    await using machine = await machineWith({ after: "10.0.2", policy: policyText("(none)", both) });
    machine.uid = 1000;
    await expect(supplied(machine)).rejects.toThrow(
      new FetchError(
        "it cannot be installed: this is not root, and there is no sudo; as root: apt-get install --no-install-recommends qemu-system-x86",
      ),
    );
    await machine.addProgram("sudo");
    const { override } = machine;
    machine.override = (call) => (basename(call.command) === "sudo" ? { code: 1 } : override(call));
    await expect(supplied(machine)).rejects.toThrow(
      /and sudo asks for a password, or refuses; give it one before \(sudo -v\), or: sudo apt-get install /,
    );
    expect(installation(machine)).toBeUndefined();
  });

  test("is missing where the archive offers none", async () => {
    await using machine = await machineWith({ after: "", policy: "" });
    await expect(supplied(machine)).rejects.toThrow("the archive's bookworm does not offer qemu-system-x86");
  });
});

test.each([
  ["7.2.22", false],
  ["8.1.5", false],
  ["8.2", true],
  ["8.2.0", true],
  ["10.0.2", true],
])("QEMU %s is recent: %s", (version, expected) => {
  expect(isRecent(version)).toBe(expected);
});

describe("apt-cache policy", () => {
  test("is read with its places, the dpkg status left out", () => {
    expect(parsePolicy(policyText(BACKPORTS, both))).toEqual({
      installed: BACKPORTS,
      offers: [
        { version: BACKPORTS, suite: "bookworm-backports" },
        { version: OWN, suite: "bookworm" },
      ],
    });
  });

  test("of a package that is not there offers nothing", () => {
    expect(parsePolicy("")).toEqual({ installed: undefined, offers: [] });
    expect(
      parsePolicy("x:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n").installed,
    ).toBeUndefined();
  });
});
