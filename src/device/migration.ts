/** The migration of a device: its states, the ways between them, and the stream that its own state travels in. */
import { ErrnoError } from '../lib/errno.ts'

/** The states of the VFIO migration protocol that vfio-user uses. */
export type MigrationState = 'error' | 'stop' | 'running' | 'stop-copy' | 'resuming' | 'pre-copy'

/** What migrates. It starts running. */
export interface Migratable {
  /** Stops using guest memory and interrupting; what comes up meanwhile waits. */
  hold(): void
  /** Goes on. */
  release(): void
  /** The whole of its state. */
  save(): Uint8Array
  /**
   * Takes over a state that {@link save} gave, here or elsewhere.
   *
   * @param stream from the peer, so hostile
   * @throws what is wrong with it; the device is as it was, or in its power-on state
   */
  load(stream: Uint8Array): void
}

/**
 * By the state on the left, and the one to go to: the next on the way there. A direct arc leads to the goal itself. What is
 * not there cannot be reached. @see vfio-user protocol, device states; <linux/vfio.h>, vfio_device_mig_state
 *
 * ```
 *   pre-copy ◄──► running ◄──► stop ◄──► stop-copy       error ──► running, by a reset alone
 *      │                        ▲ ▼          ▲
 *      │                      resuming       │
 *      └─────────────────────────────────────┘
 * ```
 */
export const NEXT_HOP: Readonly<
  Record<MigrationState, Readonly<Partial<Record<MigrationState, MigrationState>>>>
> = {
  stop: {
    running: 'running',
    'stop-copy': 'stop-copy',
    resuming: 'resuming',
    'pre-copy': 'running',
  },
  running: { stop: 'stop', 'stop-copy': 'stop', resuming: 'stop', 'pre-copy': 'pre-copy' },
  'stop-copy': { stop: 'stop', running: 'stop', resuming: 'stop' },
  resuming: { stop: 'stop', running: 'stop', 'stop-copy': 'stop', 'pre-copy': 'stop' },
  'pre-copy': {
    stop: 'running',
    running: 'running',
    'stop-copy': 'stop-copy',
    resuming: 'running',
  },
  error: {},
}

/** States in which the device runs. */
const RUNS: ReadonlySet<MigrationState> = new Set(['running', 'pre-copy'])

/** Most bytes of a device's state; a client may not have us keep more. */
export const MAX_STREAM = 256 * 2 ** 20

const NOTHING = new Uint8Array(0)

/** Outlives connections: a client may go, and another one carry on. */
export class Migration {
  readonly #device: Migratable
  #state: MigrationState = 'running'
  /** In stop-copy: what is left to be read. */
  #outgoing: Uint8Array = NOTHING
  /** In resuming: room for what is written, of which so much is filled. */
  #incoming: Uint8Array = NOTHING
  #received = 0

  constructor(device: Migratable) {
    this.#device = device
  }

  get state(): MigrationState {
    return this.#state
  }

  /** Whether the device stands still, and so keeps its state even if its client goes. */
  get stopped(): boolean {
    return !RUNS.has(this.#state)
  }

  /**
   * Goes to a state, by way of others where there is no direct arc. On return the device is there.
   *
   * @throws EINVAL there is no way · what a hop throws, and then the state is the one before that hop
   */
  go(to: MigrationState): void {
    if (to === 'error' || (to !== this.#state && NEXT_HOP[this.#state][to] === undefined))
      throw new ErrnoError('EINVAL', `migration: no way from ${this.#state} to ${to}`)
    while (this.#state !== to) {
      const next = NEXT_HOP[this.#state][to]
      if (next === undefined) throw new ErrnoError('EINVAL', `migration: lost on the way to ${to}`)
      this.#hop(next)
    }
  }

  /** The device has been reset, and so runs. */
  reset(): void {
    this.#forgetStreams()
    this.#device.release()
    this.#state = 'running'
  }

  /**
   * The next bytes of the device's state.
   *
   * @param count the most that are wanted
   * @returns fewer at the end; none ahead of time, in pre-copy: all of it comes in stop-copy
   * @throws EINVAL in another state
   */
  read(count: number): Uint8Array {
    if (this.#state !== 'stop-copy' && this.#state !== 'pre-copy')
      throw new ErrnoError('EINVAL', `migration: nothing to be read in ${this.#state}`)
    const part = this.#outgoing.subarray(0, count)
    this.#outgoing = this.#outgoing.subarray(part.length)
    return part
  }

  /** More bytes of the state to be taken over; copied. @throws EINVAL not in resuming · ENOSPC more than {@link MAX_STREAM} */
  write(bytes: Uint8Array): void {
    if (this.#state !== 'resuming')
      throw new ErrnoError('EINVAL', `migration: nothing to be written in ${this.#state}`)
    const end = this.#received + bytes.length
    if (end > MAX_STREAM)
      throw new ErrnoError('ENOSPC', `migration: a state of more than ${MAX_STREAM} bytes`)
    if (end > this.#incoming.length) {
      const larger = new Uint8Array(Math.min(MAX_STREAM, 2 * end))
      larger.set(this.#incoming)
      this.#incoming = larger
    }
    this.#incoming.set(bytes, this.#received)
    this.#received = end
  }

  /** Follows one arc. @throws what the device says; the state stays, or is 'error' where the device cannot stay in it */
  #hop(to: MigrationState): void {
    const from = this.#state
    try {
      if (RUNS.has(from) && !RUNS.has(to)) this.#device.hold()
      if (from === 'resuming') this.#load()
      if (to === 'stop-copy') this.#outgoing = this.#save()
      else this.#forgetStreams()
      if (!RUNS.has(from) && RUNS.has(to)) this.#device.release()
    } catch (error) {
      this.#stayIn(from)
      throw error
    }
    this.#state = to
  }

  #stayIn(state: MigrationState): void {
    try {
      if (RUNS.has(state)) this.#device.release()
      else this.#device.hold()
    } catch {
      this.#state = 'error' // what was thrown first is the reason, and is told
    }
  }

  #save(): Uint8Array {
    const stream = this.#device.save()
    if (stream.length > MAX_STREAM)
      throw new ErrnoError('EFBIG', `migration: a state of ${stream.length} bytes`)
    return stream
  }

  /** A client that has written nothing wants nothing changed. What is refused stays, lest a second try pass for success. */
  #load(): void {
    if (this.#received > 0) this.#device.load(this.#incoming.subarray(0, this.#received))
  }

  #forgetStreams(): void {
    this.#outgoing = NOTHING
    this.#incoming = NOTHING
    this.#received = 0
  }
}
