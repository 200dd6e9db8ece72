/** Several drivers told of one use of a group: all of them, or none. */
import { unlessAborted } from '../lib/within.ts'
import type { GroupHold } from './group.ts'
import type { TakenUse } from './joined-group.ts'

/**
 * Tells all of `parties` at once, and waits for them.
 *
 * @param parties each begins to tell one driver; nothing where there is none any more
 * @param signal  once it is aborted, all is given back
 * @throws the first refusal, or the signal's reason; whoever had been told is told of the end then
 */
export async function holdAll(
  parties: readonly (() => GroupHold | undefined)[],
  signal: AbortSignal,
): Promise<TakenUse> {
  const holds: GroupHold[] = []
  const close = () => {
    for (const hold of holds.splice(0)) hold.release()
  }
  try {
    for (const party of parties) {
      signal.throwIfAborted()
      const hold = party()
      if (hold !== undefined) holds.push(hold)
    }
    const ready = holds.map(async (hold) => hold.ready)
    await unlessAborted(signal, Promise.all(ready))
    return { close }
  } catch (error) {
    close()
    throw error
  }
}
