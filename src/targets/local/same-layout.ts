/** Whether two looks from inside saw the same machine. */
import type { MachineLayout } from "../../layout/machine.ts";

/** Whether everything that a header is compared with is the same in both: memory, CPUs, and where their notes are. */
export function sameLayout(a: MachineLayout, b: MachineLayout): boolean {
  return (
    a.backed.equals(b.backed) &&
    a.cpus.length === b.cpus.length &&
    a.cpus.every(({ present }, i) => present === b.cpus[i]!.present) &&
    sameInside(a.inside, b.inside)
  );
}

function sameInside(a: MachineLayout["inside"], b: MachineLayout["inside"]): boolean {
  if (!a || !b) return a === b;
  return (
    a.online.equals(b.online) &&
    a.crashMemory.equals(b.crashMemory) &&
    a.cpuNotes.size === b.cpuNotes.size &&
    [...a.cpuNotes].every(([cpu, { address }]) => b.cpuNotes.get(cpu)?.address === address)
  );
}
