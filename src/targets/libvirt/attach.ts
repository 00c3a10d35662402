/**
 * Adds devices by libvirt's own commands: what QEMU is given behind its back libvirt does not know, so that it would
 * neither migrate nor save it, and would give its slot away again.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import type { AllocatedDimm, BackendFate } from "../../keeper/machine.ts";
import { parseHotpluggableCpus, parseMemoryDevices } from "../../layout/qmp.ts";
import type { Plugging } from "../qemu/machine.ts";
import { PlugError } from "../qemu/plug.ts";
import { makePrivateDir } from "../qemu/private-dir.ts";
import { qomList } from "../qemu/replies.ts";
import { LibvirtCommandError } from "./error.ts";
import type { LibvirtSession } from "./session.ts";

/** A DIMM's memory is allocated meanwhile; of what it costs see docs/libvirt.md. */
const ATTACH_TIMEOUT_MS = 60_000;
/** libvirt takes a backend away when it has heard of its DIMM's end: a moment later. */
const RELEASE_MS = 5000;
const LOOK_MS = 50;

const WITH_ID = "/machine/peripheral/";

/** Plugs by `virsh attach-device` and `setvcpus`, into the running domain only: its definition stays as it is. */
export class LibvirtPlugging implements Plugging {
  readonly #session: LibvirtSession;

  constructor(session: LibvirtSession) {
    this.#session = session;
  }

  /** libvirt allocates the memory as it adds the device: nothing is done before. */
  async allocateDimm(size: bigint): Promise<AllocatedDimm> {
    return {
      plug: async (added) => await this.#attach(size, added),
      free: async () => undefined,
    };
  }

  async #attach(size: bigint, added: (id: string) => void): Promise<void> {
    const before = new Set(await this.#dimms());
    const directory = await makePrivateDir();
    try {
      const file = join(directory.path, "dimm.xml");
      await writeFile(file, dimmXml(size));
      await this.#change(`Cannot plug a DIMM of ${size} bytes`, ["attach-device", file, "--live"]);
    } finally {
      await directory.remove();
    }
    const id = (await this.#dimms()).find((each) => !before.has(each));
    if (id === undefined)
      throw new PlugError("libvirt plugged a DIMM but QEMU does not list it: look at query-memory-devices");
    added(id);
  }

  async plugCpu(added: (id: string) => void): Promise<void> {
    const before = await this.#cpus();
    const count = before.filter(({ present }) => present).length;
    await this.#change("Cannot plug a CPU", ["setvcpus", String(count + 1), "--live"]);
    const known = new Set(before.map(({ qomPath }) => qomPath));
    const path = (await this.#cpus()).find(({ present, qomPath }) => present && !known.has(qomPath))?.qomPath;
    if (path === undefined)
      throw new PlugError("libvirt plugged a CPU but QEMU does not list it: look at query-hotpluggable-cpus");
    added(path.startsWith(WITH_ID) ? path.slice(WITH_ID.length) : path);
  }

  /** What became of the backend of libvirt's DIMM `name`, which libvirt names after it. */
  async releaseBackend(name: string): Promise<BackendFate> {
    const deadline = performance.now() + RELEASE_MS;
    for (;;) {
      const objects = await qomList(this.#session, "/objects");
      if (!objects.some((object) => object.name === `mem${name}`)) return { fate: "deleted" };
      if (performance.now() > deadline)
        return { fate: "left", reason: `libvirt has not taken its backend "mem${name}" away` };
      await delay(LOOK_MS);
    }
  }

  /** A command of virsh's on the domain. @throws {PlugError} with libvirt's words. */
  async #change(what: string, [command, ...words]: readonly [string, ...string[]]): Promise<void> {
    try {
      await this.#session.virsh([command, this.#session.domain.id, ...words], ATTACH_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof LibvirtCommandError)) throw error;
      throw new PlugError(`${what}: libvirt says "${error.desc}"`, { cause: error });
    }
  }

  async #dimms(): Promise<readonly string[]> {
    const devices = parseMemoryDevices(await this.#session.execute("query-memory-devices"));
    return devices.flatMap(({ id }) => id ?? []);
  }

  async #cpus(): Promise<ReturnType<typeof parseHotpluggableCpus>> {
    return parseHotpluggableCpus(await this.#session.execute("query-hotpluggable-cpus"));
  }
}

/** libvirt.org/formatdomain.html, "Memory devices". libvirt wants a NUMA node: the first, as QEMU takes. */
function dimmXml(size: bigint): string {
  return `<memory model='dimm'><target><size unit='b'>${size}</size><node>0</node></target></memory>\n`;
}
