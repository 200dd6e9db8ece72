/** `mdevkit unregister`: takes a parent away, once its clients have let go; says meanwhile who has not. */
import { runtimeRoot } from '../host/paths.ts'
import { ApiClient, apiSocket } from '../http/client.ts'
import type { MachineEvent, SnapshotEvent } from '../http/events.ts'
import { describeHolders, type MdevSnapshot } from '../http/model.ts'
import { describeError, ErrnoError } from '../lib/errno.ts'

export interface UnregisterCommandOptions {
  /** Takes mdevs from their clients, whoever has made them; kills a host that does not answer. */
  readonly force?: boolean
  /** Though another owner has made an mdev on it. */
  readonly takeOver?: boolean
  /** Seconds. */
  readonly timeout?: number
}

/**
 * Ends once the parent's host has gone; on SIGINT and SIGTERM, or when time is up, it waits no longer, and what has begun goes on.
 *
 * @throws as ControlPlane.unregister · EBUSY it has not waited any longer
 */
export async function unregister(
  parent: string,
  { force = false, takeOver = force, timeout }: UnregisterCommandOptions,
): Promise<void> {
  const { MDEVKIT_OWNER: owner } = process.env
  const api = new ApiClient(apiSocket(runtimeRoot()), owner ? { owner } : {})
  const watch = new Holders(parent)
  const end = new AbortController()
  const giveUp = (why: string) => end.abort(stillThere(parent, why, watch))
  const onSignal = () => giveUp('not waited for any longer')
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal)
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(() => giveUp(`still there after ${timeout} s`), timeout * 1000)
  const told = force ? undefined : watch.follow(api, end.signal)
  try {
    await api.unregister(parent, { force, takeOver, wait: !force }, end.signal)
  } finally {
    clearTimeout(timer)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
    end.abort()
    await told
  }
}

function stillThere(parent: string, why: string, { text }: Holders): ErrnoError {
  const who = text === '' ? '' : `: ${text}`
  return new ErrnoError('EBUSY', `parent ${parent}: ${why}, and goes once it can${who}`)
}

/** Who has mdevs of a parent open, told on standard error while that is being unregistered. */
class Holders {
  readonly #parent: string
  readonly #mdevs = new Map<string, MdevSnapshot>()
  /** Mdevs whose clients were told of. */
  readonly #told = new Set<string>()
  #hasBegun = false

  constructor(parent: string) {
    this.#parent = parent
  }

  get text(): string {
    return describeHolders([...this.#mdevs.values()])
  }

  /** Until `end`. What goes wrong with events goes wrong with all else, too, but that there may be too many of them. */
  async follow(api: ApiClient, end: AbortSignal): Promise<void> {
    try {
      for await (const event of api.events(end)) {
        this.#note(event)
        if (this.#hasBegun) this.#tell()
      }
    } catch (error) {
      if (error instanceof ErrnoError && error.code === 'EAGAIN') say(describeError(error))
    }
  }

  #note(event: SnapshotEvent | MachineEvent): void {
    if (event.action === 'snapshot') {
      const parent = event.parents.find(({ name }) => name === this.#parent)
      for (const mdev of parent?.mdevs ?? []) this.#mdevs.set(mdev.uuid, mdev)
      this.#hasBegun ||= parent?.state === 'unregistering'
    } else if (event.parent === this.#parent) {
      if (event.action === 'unregistering') this.#hasBegun = true
      if (!('mdev' in event)) return
      if (event.action === 'remove') this.#mdevs.delete(event.uuid)
      else this.#mdevs.set(event.uuid, event.mdev)
    }
  }

  #tell(): void {
    for (const mdev of this.#mdevs.values()) {
      const { uuid, client } = mdev
      if (client === undefined || this.#told.has(`${uuid} ${client}`)) continue
      this.#told.add(`${uuid} ${client}`)
      say(`waiting: ${describeHolders([mdev])}`)
    }
  }
}

function say(text: string): void {
  process.stderr.write(`mdevkit unregister: ${text}\n`)
}
