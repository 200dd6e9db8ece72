/** The collector, on demand: what has been let go of is still counted as memory until it has run. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Turns that it takes until memory is given back: buffers are swept beside us, and finalizers run in a turn of their own. */
const TURNS = 5

/** Collects, and lets finalizers run; once, and then as long as `more` says, up to a bound. */
export async function collectGarbage(more: () => boolean = () => false): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let i = 0; i < 20 * TURNS && (i < TURNS || more()); i++) {
    collect()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Bytes in buffers that somebody holds. */
export async function heldBuffers(): Promise<number> {
  await collectGarbage()
  return process.memoryUsage().arrayBuffers
}
