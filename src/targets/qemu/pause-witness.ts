/** Who is told of each pause, so that a guest whose keeper dies in one does not stand still for ever. */

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
   *
   * @param qmpPath the QMP socket over which it can be resumed.
   */
  pausing(qmpPath: string): OpenPause;
}
