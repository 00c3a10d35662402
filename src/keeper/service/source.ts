/** Where a service's targets come from: one that is named, or a pattern behind which they come and go. */

/** A target that is wanted now. */
export interface Listed {
  /** As users write it. */
  readonly target: string;
  /** Another text where what is behind the name is another thing than before: it is worth a try at once. */
  readonly token: string;
}

/** Tells which targets one written TARGET stands for. */
export interface TargetSource {
  /**
   * Calls `listed` with all of them, soon, and again whenever they may be others.
   *
   * @returns ends it.
   */
  watch(listed: (targets: readonly Listed[]) => void): Disposable;
}

/** A target that is wanted whether it is there or not. */
export function named(target: string): TargetSource {
  return {
    watch: (listed) => {
      listed([{ target, token: "" }]);
      return { [Symbol.dispose]: () => undefined };
    },
  };
}
