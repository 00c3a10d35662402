// Runs in a guest, on the program that is built there: ways to bring a loaded capture kernel up to date from inside, side by
// side, with what a sampler on another CPU sees of /sys/kernel/kexec_crash_loaded meanwhile. Prints one JSON document.
// Plain JavaScript, without `using`, which Node 20 does not know: it is copied into the guest as it is.
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { Worker, isMainThread, workerData } from "node:worker_threads";

const LOADED = "/sys/kernel/kexec_crash_loaded";

if (!isMainThread) sample(new Float64Array(workerData));

/** Spins: how long it was 0 since the counter was cleared, ms, and how often it became so. */
function sample(shared) {
  const file = openSync(LOADED, "r");
  const byte = Buffer.alloc(1);
  let since;
  while (shared[2] === 0) {
    readSync(file, byte, 0, 1, 0);
    const now = performance.now();
    if (byte[0] === 0x30) {
      since ??= now;
    } else if (since !== undefined) {
      shared[0] += now - since;
      shared[1] += 1;
      since = undefined;
    }
  }
  closeSync(file);
}

if (isMainThread) await main(JSON.parse(readFileSync("/tmp/bench.json", "utf8")));

function kexec(...args) {
  const { status, stderr } = spawnSync("kexec", args);
  if (status !== 0) throw new Error(`kexec ${args.join(" ")}: ${stderr}`);
}

async function main({ repetitions, rearms, kernel, initrd, commandLine }) {
  const dist = "/opt/kdump-hotplug/dist";
  const { loadSystemCalls } = await import(`${dist}/targets/local/system-calls.js`);
  const { prepareFullLoad } = await import(`${dist}/targets/local/full-load.js`);
  const { prepareLoad } = await import(`${dist}/targets/local/kexec-load.js`);
  const { LocalMachine } = await import(`${dist}/targets/local/machine.js`);
  const { auditLocal } = await import(`${dist}/targets/local/audit.js`);
  const { locateImage } = await import(`${dist}/image/locate.js`);
  const { RangeSet } = await import(`${dist}/layout/range-set.js`);
  const { nodeSha256 } = await import(`${dist}/targets/sha256.js`);
  const { planRearm } = await import(`${dist}/image/rearm.js`);
  const { confirmRearm, verifyRearm } = await import(`${dist}/image/rearm-verify.js`);

  const shared = new Float64Array(new SharedArrayBuffer(24));
  const sampler = new Worker(new URL(import.meta.url), { workerData: shared.buffer });
  await new Promise((resolve) => sampler.once("online", resolve));

  const files = ["--load-panic", kernel, `--initrd=${initrd}`, `--append=${commandLine}`];
  const calls = await loadSystemCalls();

  /** One update: how long it took, how long of that was the system call where we made it, how long nothing was loaded. */
  const timed = async (work) => {
    shared[0] = 0;
    shared[1] = 0;
    const started = performance.now();
    const callMs = await work();
    const ms = performance.now() - started;
    // The sampler sees the end of it a moment later.
    await new Promise((resolve) => setTimeout(resolve, 5));
    return { ms, callMs: callMs ?? null, blindMs: shared[0], blindTimes: shared[1] };
  };

  const machine = new LocalMachine();
  const { image: first } = await auditLocal(machine, nodeSha256);
  const facts = await machine.rearmFacts(first.kernel);
  const ram = RangeSet.of(await machine.memory.ranges());
  /** Of the last re-arm, as long as nobody else has loaded. */
  let known;
  const rearm = async () => {
    const hints = { kernel: first.kernel, ram, hashed: known?.hashed };
    const { image } = await locateImage(machine.memory, nodeSha256, hints);
    const plan = await planRearm(machine.memory, nodeSha256, image, image.header, facts, {
      hashes: known?.hashes,
    });
    const limits = { crash: plan.crash, memTotal: plan.totalRam };
    const load = prepareLoad(calls, { entry: plan.entry, segments: plan.segments }, limits);
    await confirmRearm(machine.memory, plan);
    const callMs = load.load();
    load[Symbol.dispose]();
    known = {
      hashes: plan.hashes,
      hashed: { headerAddress: plan.headerAddress, digest: plan.digest },
      plan,
    };
    return callMs;
  };

  const ways = {
    "kexec -p -s": async () => kexec("--kexec-file-syscall", ...files),
    "kexec -p": async () => kexec("--kexec-syscall", ...files),
    "unload, then kexec -p -s": async () => {
      kexec("--kexec-file-syscall", "--load-panic", "--unload");
      kexec("--kexec-file-syscall", ...files);
    },
    "full load over the old image": async () => {
      const load = await prepareFullLoad(calls, { kernel, initrd, commandLine }, 1 << 28);
      const callMs = load.load();
      await load[Symbol.asyncDispose]();
      return callMs;
    },
    "re-arm": rearm,
  };
  const results = {};
  for (const name of Object.keys(ways)) results[name] = [];
  for (let i = 0; i < repetitions; i++) {
    for (const [name, work] of Object.entries(ways)) {
      // The image is another one, so what is known of it is not.
      known = undefined;
      results[name].push(await timed(work));
    }
  }

  // On the image of the last full load, in a row.
  shared[0] = 0;
  shared[1] = 0;
  const row = [];
  for (let i = 0; i < rearms; i++) row.push(await rearm());
  const outcome = await verifyRearm(machine.memory, nodeSha256, known.plan);
  const { verdict } = await auditLocal(machine, nodeSha256);
  await machine[Symbol.asyncDispose]();
  const memory = process.memoryUsage.rss() / 2 ** 20;
  shared[2] = 1;
  console.log(
    JSON.stringify({ results, row, rowBlindMs: shared[0], outcome: outcome.state, verdict, rssMiB: memory }),
  );
}
