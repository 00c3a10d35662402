/**
 * Guest memory through QEMU's gdbstub, opened at run time and closed again.
 *
 * What QEMU does (observed on 10.0.2): opening the stub changes nothing; a connection stops a running guest
 * (STOP), and leaves `paused` and `prelaunch` as they are; `D` starts the guest, *whatever it was before*;
 * closing the connection without `D` leaves it stopped. So a guest that ran is detached from, and one that did
 * not run is merely hung up on; then its state is looked at again.
 */
import { rmdir } from "node:fs/promises";
import { join } from "node:path";

import { GdbError, GdbRemote } from "./gdb-remote.ts";
import { makePrivateDir, PRIVATE_DIR_PREFIX, type ProcessOwner } from "./private-dir.ts";
import { hasEnded, MARK_PATTERN } from "../process-mark.ts";
import type { QmpSession } from "./qmp-session.ts";
import { humanMonitor, queryChardevs, queryStatus, type RunState } from "./replies.ts";
import { assertNotMoving, restoreRunState } from "./run-state.ts";

export interface GdbOptions {
  /** Where the private directory for the stub's socket is made. */
  readonly tmpDir?: string | undefined;
  /** Whom QEMU runs as: root gives it the directory. */
  readonly owner?: ProcessOwner | undefined;
}

/** What may be done to memory during a session. Addresses are physical. */
export interface GdbMemory {
  readMemory(address: bigint, length: number): Promise<Uint8Array>;
  writeMemory(address: bigint, bytes: Uint8Array): Promise<void>;
}

/** The gdbstub, listening: the guest is not stopped yet. Close it. */
export class GdbDoor {
  readonly #qmp: QmpSession;
  readonly #socketPath: string;
  readonly #removeDirectory: () => Promise<void>;
  readonly #atOpen: RunState;
  #attachFailed = false;
  #attached: { readonly remote: GdbRemote; readonly before: RunState } | undefined;

  private constructor(
    qmp: QmpSession,
    socketPath: string,
    removeDirectory: () => Promise<void>,
    atOpen: RunState,
  ) {
    this.#atOpen = atOpen;
    this.#qmp = qmp;
    this.#socketPath = socketPath;
    this.#removeDirectory = removeDirectory;
  }

  /**
   * Makes QEMU listen on a socket in a private directory.
   *
   * @throws {GdbError} where somebody else uses the gdbstub (there is one per QEMU), or QEMU cannot open it.
   */
  static async open(qmp: QmpSession, options: GdbOptions = {}): Promise<GdbDoor> {
    await clearTheWay(qmp);
    const atOpen = await queryStatus(qmp);
    const directory = await makePrivateDir(options.tmpDir, options.owner);
    const path = join(directory.path, "gdb");
    const door = new GdbDoor(qmp, path, directory.remove, atOpen);
    try {
      const said = await humanMonitor(
        qmp,
        `gdbserver ${monitorWord(`unix:${optionValue(path)},server=on,wait=off`)}`,
      );
      if (!said.startsWith("Waiting for gdb connection")) {
        const words = said.trim().split(/\r?\n/)[0] ?? "";
        throw new GdbError(
          `QEMU cannot open its gdbstub at "${path}" (${words}): run as root or as QEMU's user, or name a directory that both see`,
        );
      }
      return door;
    } catch (error) {
      await directory.remove();
      throw error;
    }
  }

  /** True between `attach` and `hangUp`. */
  get isAttached(): boolean {
    return this.#attached !== undefined;
  }

  /** True where it is our attachment that keeps the guest from running. */
  get stoppedGuest(): boolean {
    return this.#attached?.before.running === true;
  }

  /**
   * Attaches: the guest is stopped from here to `hangUp`, and addresses are physical.
   *
   * @param known the guest's run state, where the caller has it: asking costs a quarter of a millisecond. Where it
   * stands still already, the stub's first answers are not waited for: a read tells where they are no good.
   * @throws {RunStateError} where the guest's memory is being migrated.
   */
  async attach(known?: RunState): Promise<GdbMemory> {
    if (this.#attached !== undefined) return this.#attached.remote;
    const before = known ?? (await queryStatus(this.#qmp));
    assertNotMoving(before);
    let remote: GdbRemote | undefined;
    try {
      remote = await GdbRemote.call({ path: this.#socketPath }, { physical: true });
      const greeted = remote.greeted();
      greeted.catch(() => (this.#attachFailed = true));
      if (before.running) await greeted;
    } catch (error) {
      remote?.close();
      this.#attachFailed = true;
      // The stub may have stopped the guest before it failed.
      await restoreRunState(this.#qmp, before);
      throw error;
    }
    this.#attached = { remote, before };
    return remote;
  }

  /** Ends the attachment; the guest runs again where it ran before, and only there. */
  async hangUp(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) return;
    this.#attached = undefined;
    const { remote, before } = attached;
    try {
      // The next debugger expects virtual addresses.
      await remote.setPhysicalMode(false);
      if (before.running) await remote.detach();
    } catch (error) {
      // A stub that does not answer has no say in the guest's state: QMP has.
      if (!(error instanceof GdbError)) throw error;
    } finally {
      remote.close();
      // Nothing that was sent can start a paused guest, and this may be inside somebody's pause: no question more.
      if (before.status !== "paused") await restoreRunState(this.#qmp, before);
    }
  }

  /** Hangs up, makes QEMU stop listening and removes the directory. */
  async close(): Promise<void> {
    try {
      await this.hangUp();
    } finally {
      try {
        if (this.#qmp.isOpen) {
          await humanMonitor(this.#qmp, "gdbserver none");
          // QEMU may have accepted a connection that we had given up by then, and stopped the guest for it.
          if (this.#attachFailed) await restoreRunState(this.#qmp, this.#atOpen);
        }
      } finally {
        await this.#removeDirectory();
      }
    }
  }
}

/** A comma separates QEMU's options; doubled it is one. */
const optionValue = (text: string): string => text.replaceAll(",", ",,");

/** One word of the human monitor: in quotes where a blank would end it. */
function monitorWord(text: string): string {
  return /[\s"\\]/.test(text) ? `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"` : text;
}

/** The socket of a stub that we opened, without a client, as `query-chardev` describes it. */
const OURS = new RegExp(`^disconnected:unix:(.*/${PRIVATE_DIR_PREFIX}(${MARK_PATTERN})-[A-Za-z0-9]{6})/gdb,`);

/**
 * Closes a stub that a killed process of ours has left open.
 *
 * @throws {GdbError} where the stub is somebody else's, or that of a keeper which may be alive.
 */
async function clearTheWay(qmp: QmpSession): Promise<void> {
  const other = (await queryChardevs(qmp)).find((chardev) => chardev.label === "gdb");
  if (other === undefined) return;
  const [, directory, mark] = OURS.exec(other.filename) ?? [];
  if (directory === undefined || mark === undefined || !hasEnded(mark)) {
    throw new GdbError(
      `gdbstub of this QEMU is in use (${other.filename}): close it with "gdbserver none", or give the guest's RAM a shared file`,
    );
  }
  await humanMonitor(qmp, "gdbserver none");
  // QEMU has removed its socket; nothing is deleted that is not empty.
  await rmdir(directory).catch(() => undefined);
}
