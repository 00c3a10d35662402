// A keeper at work, without a guest: a simulated machine is watched while memory comes and goes, then panics.
// A real machine is whatever implements the interface WatchedMachine.
import { Keeper, nodeSha256, parseSpec, SimulatedTarget, watch } from "kdump-hotplug";

const target = SimulatedTarget.open("sim:6.1", parseSpec("6.1"), nodeSha256);
const keeper = new Keeper(target, nodeSha256);
const stop = new AbortController();
let installed;

const watching = watch(target, keeper, {
  signal: stop.signal,
  onEvent(event) {
    if (event.kind === "installed") {
      console.log(
        `installed: missing ${event.before.missing.bytes}, stale ${event.before.stale.bytes} bytes`,
      );
      installed?.();
    }
    if (event.kind === "failed") console.error(event.error.message);
  },
});

/** Changes the machine, and waits until the header is true again. */
async function change(work) {
  const done = new Promise((resolve) => (installed = resolve));
  work(target.machine);
  target.tellOfChange();
  await done;
}

await change((machine) => machine.plugDimm(1n << 30n));
await change((machine) => machine.unplug("dimm0"));
await change((machine) => machine.plugDimm(2n << 30n));
stop.abort();
await watching;

const { outcome } = target.machine.judge();
console.log(`a panic now gives a dump that is ${outcome}`);
process.exitCode = outcome === "complete" ? 0 : 1;
