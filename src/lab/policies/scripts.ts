/**
 * The programs that the policies' rules call, written by us to the effect that the distributions' have.
 *
 * There is no systemd: `systemctl` says that kdump is active, and `systemd-run` detaches with setsid what PID 1 would
 * start. Every exit status is written down (log.ts): a missing flock must not look like perfect coalescing.
 */
import { type CaptureLoad, type GuestFile, loadCommand, unloadCommand } from "../guest-actions.ts";
import { LOG_PATH } from "./log.ts";

const LIBRARY = "/usr/lib/kdump-hotplug/lib.sh";
const ERRORS = "/run/lab/errors";

/** What every script begins with. `read` starts no program, which on TCG would cost more than it measures. */
function library(load: CaptureLoad): string {
  return `export PATH=/bin:/sbin:/usr/bin:/usr/sbin
say() { echo "$*" >>${LOG_PATH}; }
fail() { say "failed $*"; exit 1; }
now() { read -r now idle </proc/uptime; }
# One load at a time: kdumpctl's and kdump-config's own lock.
lock_kdump() { exec 9>/run/lock/kdump && flock 9 || fail "flock $?"; }
unload() { ${unloadCommand(load)} 2>>${ERRORS}; }
load() { ${loadCommand(load)} 2>>${ERRORS}; }
reload() {
  now; start=$now
  unload; unloaded=$?
  now; middle=$now
  load; loaded=$?
  now; say "reload $start $middle $now $unloaded $loaded"
  return $loaded
}
`;
}

function script(path: string, body: string): GuestFile {
  return { path, mode: 0o755, text: `#!/bin/sh\n. ${LIBRARY}\n${body}` };
}

/** PID 1's side: what a rule's RUN asks of it. */
const SYSTEMD: readonly GuestFile[] = [
  script("/usr/bin/systemctl", `[ "$1" = is-active ] || fail "systemctl $*"\necho active\n`),
  script(
    "/usr/bin/systemd-run",
    `while [ "\${1#--}" != "$1" ]; do shift; done
say "start $1"
setsid sh -c '"$@"; echo "end $?" >>${LOG_PATH}' sh "$@" </dev/null >/dev/null 2>>${ERRORS} &
`,
  ),
];

const KDUMPCTL = script(
  "/usr/bin/kdumpctl",
  `[ "$1" = reload ] || fail "kdumpctl $*"
lock_kdump
reload
`,
);

/** kdump-utils 1c97aee: one at a time, losers end at once; the lock is let go before the reload. */
const THROTTLER = script(
  "/usr/lib/udev/kdump-udev-throttler",
  `exec 8>/run/lock/kdump-udev-throttle
flock -n 8
case $? in
  0) ;;
  1) say throttled; exit 0 ;;
  *) fail "flock -n $?" ;;
esac
sleep 1
udevadm settle --timeout 3
say "settle $?"
exec 8>&-
kdumpctl reload
`,
);

/** Does nothing where nothing is loaded: one failed load turns it off for good. */
const KDUMP_CONFIG = script(
  "/usr/sbin/kdump-config",
  `[ "$1" = try-reload ] || fail "kdump-config $*"
lock_kdump
read -r loaded </sys/kernel/kexec_crash_loaded
[ "$loaded" = 1 ] || { say skipped; exit 0; }
reload
`,
);

/** Whoever gets the first lock waits for the load in flight; its own load will see all events until then. */
const LOAD_OVER = script(
  "/usr/lib/kdump-hotplug/kdump-load-over",
  `exec 8>/run/lock/kdump-next
flock -n 8
case $? in
  0) ;;
  1) say throttled; exit 0 ;;
  *) fail "flock -n $?" ;;
esac
lock_kdump
exec 8>&-
now; start=$now
load; loaded=$?
now; say "reload $start $start $now 0 $loaded"
exit $loaded
`,
);

/** Every program that a policy's rules may call. */
export function policyScripts(load: CaptureLoad): readonly GuestFile[] {
  const lib: GuestFile = { path: LIBRARY, mode: 0o644, text: library(load) };
  const log: GuestFile = { path: LOG_PATH, mode: 0o644, text: "" };
  return [lib, log, ...SYSTEMD, KDUMPCTL, THROTTLER, KDUMP_CONFIG, LOAD_OVER];
}
