/** SHA-256 as a port: this room imports nothing from Node, and purgatory's digest needs a state that forks. */

/** A SHA-256 under way. */
export interface RunningHash {
  /** Feeds `bytes`; returns itself. */
  update(bytes: Uint8Array): RunningHash;
  /** An independent hash that has seen the same bytes. */
  copy(): RunningHash;
  /** The 32 bytes; the hash cannot be used afterwards. */
  digest(): Uint8Array;
}

/** Starts a SHA-256. */
export type Sha256 = () => RunningHash;
