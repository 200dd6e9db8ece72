/** Answers that many want at once: asked for as seldom as can be, and never older than the question. */

/**
 * What `ask` answers to all who call at a time: one asking is under way, and one more for whoever has come since, who may
 * have seen what the first does not know yet.
 */
export function shareFresh<T>(ask: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | undefined
  let next: Promise<T> | undefined
  const begin = (): Promise<T> => {
    const answer = ask()
    underWay = answer
    const over = () => {
      if (underWay === answer) underWay = undefined
    }
    answer.then(over, over)
    return answer
  }
  const afterwards = async (before: Promise<T>): Promise<T> => {
    await before.catch(() => {}) // its own callers hear of it
    next = undefined
    return begin()
  }
  return () => {
    if (underWay === undefined) return begin()
    next ??= afterwards(underWay)
    return next
  }
}
