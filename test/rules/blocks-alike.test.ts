import { expect, test } from "vitest";
import { blocksAreAlike } from "../../src/rules/blocks-alike.ts";
import { RuleSet } from "../../src/rules/evaluate.ts";
import { makeEvent } from "../../src/rules/event.ts";
import { KDUMP_POLICIES, ONLINE_POLICIES } from "../../src/rules/policies/all.ts";

function rules(text: string): RuleSet {
  return RuleSet.parse([{ path: "/r/1.rules", text: `${text}\n` }]);
}

test.each([...KDUMP_POLICIES, ...ONLINE_POLICIES].map((policy) => [policy.name, policy] as const))(
  "%s cannot tell blocks apart, and gives two of them the same outcome but for their name",
  (_name, { text }) => {
    const set = rules(text);
    expect(blocksAreAlike(set)).toBe(true);
    for (const action of ["add", "online", "offline", "remove"] as const) {
      const [one, two] = [40, 1234].map((index) => {
        const devpath = `/devices/system/memory/memory${index}`;
        const { actions, run } = set.evaluate(
          makeEvent({ action, devpath }, { kernel: { crashHotplug: "0" } }),
        );
        return JSON.stringify({ actions, run }).replaceAll(`memory${index}`, "memoryN");
      });
      expect(one).toBe(two);
    }
  },
);

test.each([
  'KERNEL=="memory40", RUN+="/bin/true"',
  'KERNELS=="memory4*", RUN+="/bin/true"',
  'DEVPATH=="*40", RUN+="/bin/true"',
  'ENV{DEVPATH}=="*40", RUN+="/bin/true"',
  'ATTR{phys_index}=="00000028", RUN+="/bin/true"',
  'RUN+="/bin/reload %k"',
  'RUN+="/bin/reload $number"',
  'RUN+="/bin/reload $env{DEVPATH}"',
  'ENV{x}="%n"',
  'IMPORT{db}="x"',
  'PROGRAM="/bin/which $devpath"',
])("%s can", (line) => {
  expect(blocksAreAlike(rules(line))).toBe(false);
});
