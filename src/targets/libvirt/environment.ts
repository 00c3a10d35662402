/** The surroundings in which virsh says what we can read, and leaves nothing behind. */
import { join } from "node:path";

/**
 * The environment for virsh.
 *
 * `LIBVIRT_DEFAULT_URI` and the like stay as they are: which libvirt is meant is virsh's own affair (virsh(1)).
 */
export function virshEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { VIRSH_DEBUG: _debug, VIRSH_LOG_FILE: _log, ...rest } = env;
  return {
    ...rest,
    // Messages in English, and bytes that readline takes as they come.
    LC_ALL: "C.UTF-8",
    LANGUAGE: "",
    TERM: "dumb",
    INPUTRC: "/dev/null",
    // A libvirt that is not there is an answer: it is not for us to start one (libvirt.org/uri.html, session mode).
    LIBVIRT_AUTOSTART: "0",
    // Where it is not set, libvirt looks for its sockets in the cache directory; and that is to be another one.
    XDG_RUNTIME_DIR: runtimeDirectory(env),
    // In interactive mode virsh writes a history: not into the user's own.
    XDG_CACHE_HOME: "/dev/null",
  };
}

/** Where a user's own libvirt has its sockets and pid files, below `libvirt/`. */
export function runtimeDirectory(env: NodeJS.ProcessEnv): string {
  const cache = env["XDG_CACHE_HOME"];
  return (
    env["XDG_RUNTIME_DIR"] ||
    (cache === undefined || cache === "" ? join(env["HOME"] ?? "/", ".cache") : cache)
  );
}
