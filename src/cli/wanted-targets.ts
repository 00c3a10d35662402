/** What is written for a service, on the command line or in its configuration: where its targets come from. */
import { parseServiceConfig, type ServiceConfig } from "../keeper/service/config.ts";
import { named, type TargetSource } from "../keeper/service/source.ts";
import { domainSource } from "../targets/libvirt/domain-source.ts";
import { socketSource } from "../targets/qemu/socket-source.ts";
import { LOCAL, parseTarget, TargetError } from "../targets/target.ts";
import { readInput } from "./read-input.ts";

/** Where the targets that `written` stands for come from. @throws {TargetError} where it cannot be understood. */
export function sourceOf(written: string, say: (line: string) => void): TargetSource {
  if (written === LOCAL)
    throw new TargetError(
      "A service keeps guests from outside, and local is kept from inside: run keep local beside it, as a service of its own",
    );
  const target = parseTarget(written);
  if (target.kind === "libvirt-all") return domainSource({ onTrouble: say });
  return target.kind === "qmp" ? socketSource(target.path, { onTrouble: say }) : named(written);
}

/** @throws {ServiceConfigError}; what reading the file throws. */
export async function readConfig(path: string | undefined): Promise<ServiceConfig> {
  if (path === undefined) return { targets: [] };
  return parseServiceConfig(await readInput(path, "a configuration of keep"), path, (target) => {
    try {
      sourceOf(target, () => undefined);
      return undefined;
    } catch (error) {
      if (error instanceof TargetError) return error.message;
      throw error;
    }
  });
}
