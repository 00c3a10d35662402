import { expect, it } from "vitest";

import { parseTarget, TargetError } from "../../src/targets/target.ts";

it.each([
  ["qmp:/run/a b.sock", { kind: "qmp", path: "/run/a b.sock" }],
  ["libvirt:guest", { kind: "libvirt", domain: "guest" }],
  ["libvirt:it's a: guest", { kind: "libvirt", domain: "it's a: guest" }],
  [
    "libvirt:6f1b9a3e-0c77-4d0e-9d50-3f8f6b1f6f01",
    { kind: "libvirt", domain: "6f1b9a3e-0c77-4d0e-9d50-3f8f6b1f6f01" },
  ],
  ["libvirt:*", { kind: "libvirt-all" }],
  ["local", { kind: "local" }],
])("%s is a target", (text, target) => {
  expect(parseTarget(text)).toEqual(target);
});

// libvirt has no names with a slash or a newline; a dash in front is an option of virsh's.
it.each([
  "libvirt:",
  "libvirt",
  "libvirt:a/b",
  "libvirt:a\nb",
  "libvirt:-a",
  "libvirt:--all",
  "virt:a",
  "qmp:",
  "",
])("%j is none", (text) => {
  expect(() => parseTarget(text)).toThrow(TargetError);
  expect(() => parseTarget(text)).toThrow("libvirt:DOMAIN");
});
