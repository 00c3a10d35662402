/** What a distribution could do at best with a reload: coalesced, and over the loaded image. */
import type { RulePolicy } from "./policy.ts";

const LOAD_OVER = "/usr/bin/systemd-run --quiet --no-block /usr/lib/kdump-hotplug/kdump-load-over";

/** One load in flight, one more for all events that came meanwhile; nothing is unloaded first. */
export const RELOAD_OVER: RulePolicy = {
  name: "reload-over",
  title: "a coalesced load over the loaded image, never an unload first",
  fileName: "98-kdump-load-over.rules",
  text: `SUBSYSTEM=="cpu", ACTION=="add|remove", RUN+="${LOAD_OVER}"
SUBSYSTEM=="memory", ACTION=="online|offline", RUN+="${LOAD_OVER}"
`,
  command: LOAD_OVER,
};
