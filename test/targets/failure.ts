/** What `promise` fails with. @throws where it does not fail, or not with an error. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(outcome instanceof Error)) throw new Error("Nothing was thrown");
  return outcome;
}
