/** Collects all garbage, for who looks for what stays. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

// V8 shows it to contexts that are made while the flag is set.
setFlagsFromString("--expose-gc");

/** Collects all garbage, at once. */
export const collectGarbage: () => void = runInNewContext("gc");
