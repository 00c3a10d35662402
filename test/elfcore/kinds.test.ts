import { describe, expect, test } from "vitest";
import type { CoreHeader } from "../../src/elfcore/header.ts";
import {
  cpuNotes,
  isBackup,
  isKernelText,
  isRam,
  kindsOf,
  pageOffsetOf,
  vmcoreinfoNote,
} from "../../src/elfcore/kinds.ts";
import { at, PAGE_OFFSET, sample, withFields } from "./samples.ts";

const loadsOnly: CoreHeader = { ...sample, programHeaders: sample.programHeaders.slice(3) };

describe("kinds of program headers", () => {
  test("the sample has one of each, in the loaders' order", () => {
    const unknown = { ...at(sample, 0), p_type: 7 };
    const header = { ...sample, programHeaders: [...sample.programHeaders, unknown] };
    expect(kindsOf(header)).toEqual([
      "cpu-note",
      "cpu-note",
      "vmcoreinfo-note",
      "kernel-text",
      "backup",
      "ram",
      "ram",
      "unknown",
    ]);
  });

  test("the notes are told apart by their place", () => {
    expect(cpuNotes(sample)).toEqual([at(sample, 0), at(sample, 1)]);
    expect(vmcoreinfoNote(sample)).toBe(at(sample, 2));
    expect(cpuNotes(loadsOnly)).toEqual([]);
    expect(vmcoreinfoNote(loadsOnly)).toBeUndefined();
  });

  test("RAM loads are neither kernel text nor backup", () => {
    expect(sample.programHeaders.filter(isRam)).toEqual([at(sample, 5), at(sample, 6)]);
  });

  test("kernel text begins at the kernel map, even where its bytes lie elsewhere", () => {
    const text = { ...at(sample, 5), p_vaddr: 0xffff_ffff_8000_0000n, p_offset: 1n };
    expect(isKernelText(text)).toBe(true);
    expect(isBackup(text)).toBe(false);
    expect(isKernelText({ ...text, p_vaddr: 0xffff_ffff_7fff_ffffn })).toBe(false);
    expect(isKernelText({ ...text, p_type: 4 })).toBe(false);
  });
});

describe("pageOffsetOf", () => {
  test("is what all linear loads agree on", () => {
    expect(pageOffsetOf(sample)).toBe(PAGE_OFFSET);
  });

  test("is taken modulo 2^64", () => {
    const header = { ...sample, programHeaders: [{ ...at(sample, 5), p_vaddr: 0n, p_paddr: 1n }] };
    expect(pageOffsetOf(header)).toBe((1n << 64n) - 1n);
  });

  test("is unknown where loads disagree or there are none", () => {
    expect(pageOffsetOf(withFields(sample, 5, { p_vaddr: 0n }))).toBeUndefined();
    expect(pageOffsetOf({ ...sample, programHeaders: sample.programHeaders.slice(0, 4) })).toBeUndefined();
  });

  test("does not listen to empty loads", () => {
    expect(pageOffsetOf(withFields(sample, 5, { p_vaddr: 0n, p_memsz: 0n }))).toBe(PAGE_OFFSET);
  });
});
