/**
 * The library: everything of `kdump-hotplug/pure`, and what needs Node.
 *
 * These two files are the only ones that hand on what others define; docs/decisions/0027-one-public-api.md says why.
 * What is not exported here may change in any release.
 *
 * @packageDocumentation
 */
export * from "./pure.ts";

export { watch, type Keeping, type WatchEvent, type WatchOptions } from "./keeper/watch.ts";
export { type HeaderFile, HeaderFileError, readHeaderFile } from "./targets/file.ts";
export { nodeSha256 } from "./targets/sha256.ts";
