/** How a lab run can fail without saying anything about kdump. */
import type { LossMark } from "../keeper/machine.ts";

/** The guest ended, or stopped answering, before it had said what it was asked. Exit code 128. */
export class LostGuestError extends Error implements LossMark {
  override readonly name = "LostGuestError";
  readonly machineLost = true;
}

/** A command in the guest failed, so the scenario could not go on. */
export class GuestCommandError extends Error {
  override readonly name = "GuestCommandError";

  constructor(command: string, status: number, output: string) {
    super(
      `In the guest, ${JSON.stringify(command)} ended with status ${status}: ${output.trim().slice(-500)}`,
    );
  }
}

/** A program in the guest did not end in time, printed too much, or not what was waited for. */
export class GuestProgramError extends Error {
  override readonly name = "GuestProgramError";
}

/** A run came to its end, but what it was to measure could not be measured. */
export class MeasurementError extends Error {
  override readonly name = "MeasurementError";
}
