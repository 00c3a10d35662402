/** `inspect TARGET|FILE`: what a capture kernel would be told. */
import { Command } from "commander";
import { inspectMachine } from "../../keeper/audit.ts";
import { fileJson, fileText, machineJson, machineText } from "../../report/inspect.ts";
import { readHeaderFile } from "../../targets/file.ts";
import { nodeSha256 } from "../../targets/sha256.ts";
import { LOCAL } from "../../targets/target.ts";
import { type Context, printJson } from "../context.ts";
import { EXIT } from "../exit.ts";
import { lookAtLocal, refuseLocalOptions } from "../local.ts";
import { withMachine } from "../machine.ts";
import {
  crashMemoryOption,
  headerAddressOption,
  hintsOf,
  jsonOption,
  rootOption,
  type ReachOptions,
  type RootOptions,
  throughQemuOption,
  type WhereOptions,
} from "../options.ts";

export function inspectCommand(context: Context, exit: (code: number) => void): Command {
  return new Command("inspect")
    .description("show what a capture kernel would be told, program header by program header")
    .argument(
      "<target-or-file>",
      "qmp:PATH, libvirt:DOMAIN, local, sim:SPEC, or a file: a core header, a copy of crash memory, a vmcore",
    )
    .addOption(headerAddressOption())
    .addOption(crashMemoryOption())
    .addOption(rootOption())
    .addOption(throughQemuOption())
    .addOption(jsonOption())
    .action(
      async (
        subject: string,
        options: WhereOptions & ReachOptions & RootOptions & { readonly json?: true },
      ) => {
        if (subject !== LOCAL) refuseLocalOptions(subject, options);
        if (subject === LOCAL || /^[a-z]+:/.test(subject)) {
          const inspection =
            subject === LOCAL
              ? await lookAtLocal(context, options)
              : await withMachine(context, subject, "look", options, async (machine) =>
                  inspectMachine(machine, nodeSha256, hintsOf(options)),
                );
          if (options.json) printJson(context, machineJson(subject, inspection));
          else context.print(machineText(subject, inspection));
          exit(inspection.image ? EXIT.yes : EXIT.unknown);
          return;
        }
        const file = await readHeaderFile(subject, context.signal);
        if (options.json) printJson(context, fileJson(subject, file));
        else context.print(fileText(subject, file));
        exit(EXIT.yes);
      },
    );
}
