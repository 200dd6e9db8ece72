/** Work in several parts that share something: it ends when the last of them does. */

/** Resolves when all have ended, well or not: until then what they share is in use. @throws the first error, in their order */
export async function allOf(parts: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(parts)
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/**
 * Begins work part by part; some parts end at once, others later.
 *
 * @param begin calls its argument with what each part returns
 * @returns nothing where all has ended, else a promise as of {@link allOf}. What `begin` throws is thrown, unless parts are
 *          under way: then these end first, and their failures are heard too
 */
export function inParts(
  begin: (part: (under: void | Promise<void>) => void) => void,
): void | Promise<void> {
  const pending: Promise<void>[] = []
  try {
    begin((under) => {
      if (under !== undefined) pending.push(under)
    })
  } catch (error) {
    if (pending.length === 0) throw error
    pending.unshift(Promise.reject(error))
  }
  return pending.length === 0 ? undefined : allOf(pending)
}
