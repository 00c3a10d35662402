import { once } from "node:events";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  type TextfileOptions,
  type TextfileSystem,
  TextfileWriter,
} from "../../../src/keeper/metrics/textfile.ts";
import { PATIENCE } from "../../patience.ts";

let directory: string;
let file: string;
let said: string[];
let text: string;
const metrics = { contentType: "", text: async () => await Promise.resolve(text) };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kdh-textfile-"));
  file = join(directory, "kdump.prom");
  said = [];
  text = "a 1\n";
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function writer(more: Partial<TextfileOptions> = {}): TextfileWriter {
  return new TextfileWriter({ file, metrics, say: (line) => said.push(line), everyMs: 60_000, ...more });
}

/** The real one, and what was done to it. */
function recorded(more: Partial<TextfileSystem> = {}): {
  readonly system: TextfileSystem;
  readonly done: string[];
} {
  const done: string[] = [];
  const system: TextfileSystem = {
    rm,
    rename: async (from, to) => {
      done.push(`rename ${from} ${to}`);
      await rename(from, to);
    },
    open: async (path, flags, mode) => {
      const handle = await open(path, flags, mode);
      done.push(`open ${path}`);
      return {
        chmod: (bits) => handle.chmod(bits),
        writeFile: async (data) => {
          done.push("write");
          await handle.writeFile(data);
        },
        sync: async () => {
          done.push("sync");
          await handle.sync();
        },
        close: () => handle.close(),
      };
    },
    ...more,
  };
  return { system, done };
}

test("is written at once, on time, and at the end; others can read it; nothing else is left", async () => {
  await using each = writer({ everyMs: 20, lastWriteMs: 20_000 });
  await vi.waitFor(async () => expect(await readFile(file, "utf8")).toBe("a 1\n"), PATIENCE);
  text = "a 2\n";
  await vi.waitFor(async () => expect(await readFile(file, "utf8")).toBe("a 2\n"), PATIENCE);
  text = "a 3\n";
  await each[Symbol.asyncDispose]();
  expect(await readFile(file, "utf8")).toBe("a 3\n");
  expect((await stat(file)).mode & 0o777).toBe(0o644);
  expect(await readdir(directory)).toEqual(["kdump.prom"]);
  expect(said).toEqual([]);
});

test("is synchronized before it gets its name, in the same directory, and not as *.prom before", async () => {
  const { system, done } = recorded();
  await using each = writer({ system });
  await each.write();
  const temporary = join(directory, ".kdump.prom.new");
  expect(done.slice(0, 4)).toEqual([`open ${temporary}`, "write", "sync", `rename ${temporary} ${file}`]);
});

test("whoever reads sees a whole file, however often it is replaced", async () => {
  text = `${"a 1\n".repeat(20_000)}# end\n`;
  await using each = writer();
  await each.write();
  let reads = 0;
  const stop = new AbortController();
  const reader = (async () => {
    while (!stop.signal.aborted) {
      expect((await readFile(file, "utf8")).endsWith("# end\n")).toBe(true);
      reads++;
    }
  })();
  for (let i = 0; i < 30; i++) await each.write();
  stop.abort();
  await reader;
  expect(reads).toBeGreaterThan(0);
});

test("a directory that is gone is said once, and written to again once it is back", async () => {
  await using each = writer();
  await each.write();
  await rm(directory, { recursive: true });
  for (let i = 0; i < 3; i++) await each.write();
  expect(said).toEqual([
    `Cannot write metrics to "${file}": there is no directory "${directory}" (ENOENT), create it; it is tried again every 60 s`,
  ]);
  await mkdir(directory);
  await each.write();
  expect(await readFile(file, "utf8")).toBe("a 1\n");
  expect(said.slice(1)).toEqual([`Metrics are written to "${file}" again`]);
});

test("a disk that is full leaves the old file as it was, and no part of the new one", async () => {
  let full = false;
  const { system } = recorded();
  const flaky: TextfileSystem = {
    ...system,
    open: async (path, flags, mode) => {
      const handle = await system.open(path, flags, mode);
      return {
        chmod: (bits) => handle.chmod(bits),
        sync: () => handle.sync(),
        close: () => handle.close(),
        writeFile: async (data) => {
          await handle.writeFile(full ? "a" : data);
          if (full) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
        },
      };
    },
  };
  await using each = writer({ system: flaky });
  await each.write();
  full = true;
  text = "a 2\n";
  await each.write();
  expect(await readFile(file, "utf8")).toBe("a 1\n");
  expect(await readdir(directory)).toEqual(["kdump.prom"]);
  expect(said).toEqual([
    `Cannot write metrics to "${file}": no space is left (ENOSPC); it is tried again every 60 s`,
  ]);
  full = false;
});

test("a link in the temporary file's place is not followed, a leftover is replaced", async () => {
  const precious = join(directory, "precious");
  await writeFile(precious, "mine");
  await chmod(precious, 0o600);
  await symlink(precious, join(directory, ".kdump.prom.new"));
  await using each = writer();
  await each.write();
  expect(await readFile(precious, "utf8")).toBe("mine");
  expect((await stat(precious)).mode & 0o777).toBe(0o600);
  expect((await lstat(file)).isFile()).toBe(true);
  await writeFile(join(directory, ".kdump.prom.new"), "half a");
  text = "a 2\n";
  await each.write();
  expect(await readFile(file, "utf8")).toBe("a 2\n");
});

test("metrics that cannot be read are said, and nothing is written", async () => {
  const broken = { contentType: "", text: async () => await Promise.reject(new Error("they broke")) };
  await using each = writer({ metrics: broken });
  await each.write();
  expect(said).toEqual([`Cannot write metrics to "${file}": they broke; it is tried again every 60 s`]);
  expect(await readdir(directory)).toEqual([]);
});

test("a file system that hangs does not hold up the end", async () => {
  const release = new AbortController();
  const hanging = once(release.signal, "abort");
  const { system } = recorded({ rename: async () => void (await hanging) });
  const each = writer({ system, lastWriteMs: 30 });
  await each[Symbol.asyncDispose]();
  expect(said).toEqual([`The last metrics could not be written to "${file}" within 30 ms`]);
  release.abort();
  await each.write();
});
