/** `mdevkit events`: what there is and, with `--follow`, what happens, through restarts of the daemon too. */
import { setTimeout } from 'node:timers/promises'
import { runtimeRoot } from '../host/paths.ts'
import { ApiClient, apiSocket } from '../http/client.ts'
import { UnreachableError } from '../http/unreachable-error.ts'
import { BackOff } from '../lib/back-off.ts'
import { DENIED, exitCodeOf } from './exit-codes.ts'
import { eventText } from './event-text.ts'
import { endOfRun } from './end-of-run.ts'

export interface EventsOptions {
  readonly follow?: boolean
  readonly output?: 'text' | 'json'
}

/** How long to wait for a daemon that has gone. */
const BACK_OFF = { firstMs: 100, longestMs: 2000 }

/**
 * Ends with the snapshot, or at SIGINT, SIGTERM, or when nobody reads what it says.
 *
 * @throws UnreachableError no daemon answers to begin with
 */
export async function events({ follow = false, output = 'text' }: EventsOptions): Promise<void> {
  const end = new AbortController()
  const ended = endOfRun(end.signal)
  process.stdout.once('error', () => end.abort())
  void ended.finally(() => end.abort()).catch(() => {}) // it is awaited below
  const asText = output === 'json' ? (event: object) => `${JSON.stringify(event)}\n` : eventText
  const api = new ApiClient(apiSocket(runtimeRoot()))
  const print = async () => {
    for await (const event of api.events(end.signal)) {
      process.stdout.write(asText(event))
      if (!follow) return
    }
  }
  if (follow) await printAgainAndAgain(print, end.signal)
  else await print()
  end.abort()
  await ended
}

async function printAgainAndAgain(print: () => Promise<void>, end: AbortSignal): Promise<void> {
  const backOff = new BackOff(BACK_OFF)
  let hasBeenThere = false
  while (!end.aborted) {
    try {
      await print()
    } catch (error) {
      if (!(error instanceof UnreachableError) || exitCodeOf(error) === DENIED) throw error
      if (error.code === 'ECONNRESET') hasBeenThere = true
      if (!hasBeenThere) throw error
      if (error.code === 'ECONNRESET') {
        backOff.succeeded()
        process.stderr.write(`mdevkit events: ${error.message}; waiting for it to come back\n`)
      }
      await setTimeout(backOff.failed(), undefined, { signal: end }).catch(() => {})
    }
  }
}
