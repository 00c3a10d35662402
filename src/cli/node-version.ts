/** Which Node the program needs. */

/** As `engines` of package.json says. */
export const NEEDED_NODE: readonly [major: number, minor: number] = [20, 19];

/** What is said to a Node that is too old; undefined where it is not. @param version such as `18.20.4`. */
export function nodeRefusal(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [wantedMajor, wantedMinor] = NEEDED_NODE;
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return undefined;
  return `This is Node ${version}, and kdump-hotplug needs ${wantedMajor}.${wantedMinor} or newer: Debian 13 has it (apt-get install nodejs), for Debian 12 take it from nodejs.org`;
}
