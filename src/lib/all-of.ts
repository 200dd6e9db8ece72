/** Work in several parts that share something: it ends when the last of them does. */

/** Resolves when all have ended, well or not: until then what they share is in use. @throws the first error, in their order */
export async function allOf(parts: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(parts)
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
