/** Who is told of each pause, so that a guest whose keeper dies in one does not stand still for ever. */

/** A guest that another process can resume, and over what. */
export type Resumable =
  | {
      /** As users write it. */
      readonly target: string;
      /** The path of its QMP socket. */
      readonly qmp: string;
    }
  | {
      readonly target: string;
      /** libvirt's number of the domain, which is another one after each start. */
      readonly domain: string;
      /** The virsh that is told to stop it, by its process number: until that has ended it may still do so. */
      readonly virsh: number;
    };

/** A pause that has been told of. */
export interface OpenPause {
  /** It was ended, or whoever lives has seen to it. */
  over(): void;
  /** The connection over which it should be ended is gone: the guest may stand still. */
  lost(): void;
}

/** Nothing in here throws, and nothing waits: a guest is about to be stopped, or stands still. */
export interface PauseWitness {
  /** Gets ready to be told, before the guest is asked for anything. */
  ready(): void;
  /**
   * Told right before `stop` is sent to a guest that runs, and not for one that stands still already.
   */
  pausing(guest: Resumable): OpenPause;
}
