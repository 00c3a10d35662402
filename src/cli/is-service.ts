/** Whether `keep` is asked for a service. Apart from the service, so that who keeps one machine does not load that. */
import { isPattern } from "../targets/qemu/socket-source.ts";
import { LOCAL } from "../targets/target.ts";
import type { ServiceSettings } from "./keep-service.ts";

/** Whether `targets` are kept as a service: lost guests are waited for, and others may come. */
export function isService(
  targets: readonly string[],
  { config, listen, textfile }: ServiceSettings,
): boolean {
  // The machine that we run in neither comes nor goes.
  if (config === undefined && targets.length === 1 && targets[0] === LOCAL) return false;
  const wanted = [config, listen, textfile].some((each) => each !== undefined);
  return wanted || targets.length > 1 || targets.some(isPatternTarget);
}

/** Whether it stands for machines that come and go. */
function isPatternTarget(target: string): boolean {
  return target === "libvirt:*" || (target.startsWith("qmp:") && isPattern(target.slice("qmp:".length)));
}
