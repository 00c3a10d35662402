/**
 * For `vi.waitFor` and `vi.waitUntil`, which give up after one second unless told: a machine that is busy with other
 * things is no reason to fail.
 */
export const PATIENCE = { timeout: 20_000 };
