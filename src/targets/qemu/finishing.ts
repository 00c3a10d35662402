/** What has to be done afterwards, whatever happened. */

/** Runs `fn`, then `finish` in any case; where both fail, both are told. */
export async function finishing<T>(fn: () => Promise<T>, finish: () => Promise<void>): Promise<T> {
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    try {
      await finish();
    } catch (second) {
      const [first, then] = [error, second].map((each) =>
        each instanceof Error ? each.message : String(each),
      );
      throw new AggregateError([error, second], `${first}; and afterwards: ${then}`, { cause: second });
    }
    throw error;
  }
  await finish();
  return result;
}
