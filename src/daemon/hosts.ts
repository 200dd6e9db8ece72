/** The hosts of this machine, found by their control sockets: those that come, and those that were there before. */
import { EventEmitter } from 'node:events'
import { type FSWatcher, mkdirSync, readdirSync, rmSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import { ControlClient } from '../host/control-client.ts'
import type { ControlEvent } from '../host/control-protocol.ts'
import { hostLock, hostSocket } from '../host/paths.ts'
import { BackOff } from '../lib/back-off.ts'
import { codeOf, describeError, ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { isLocked } from '../os/file-lock.ts'

const SUFFIX = '.sock'
/** A socket is there a moment before anybody listens. */
const FIRST_TRY_MS = 20
const LONGEST_WAIT_MS = 1000
/** So often a socket is tried soon; then seldom where its host lives, and else not until something happens there again. */
const TRIES = 8
const SELDOM_MS = 30_000

/**
 * - `up`: a host is there, and what it bears is known. - `down`: it has gone.
 * - `event`: something has happened at it.
 */
interface HostsEvents {
  up: [host: ControlClient]
  down: [parent: string]
  event: [event: ControlEvent, host: ControlClient]
}

export class Hosts extends EventEmitter<HostsEvents> {
  readonly #root: string
  readonly #log: Logger
  readonly #watcher: FSWatcher
  readonly #connected = new Map<string, ControlClient>()
  /** Parents whose host is being connected to. */
  readonly #trying = new Set<string>()
  #closed = false

  /**
   * Begins to look; what is there already is told of by `up` as well.
   *
   * @param root the run-time root
   * @throws EACCES, ENOSPC … it cannot be watched
   */
  constructor(root: string, log: Logger) {
    super()
    this.#root = root
    this.#log = log
    const directory = dirname(hostSocket(root, ''))
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.#watcher = watch(directory, (_event, name) => this.#look(name))
    this.#watcher.on('error', (error) => log.error('watching hosts', error))
    for (const name of readdirSync(directory)) this.#look(name)
  }

  /** Those that are connected. */
  get all(): readonly ControlClient[] {
    return [...this.#connected.values()]
  }

  /** The host that runs a parent, if there is one. */
  find(parent: string): ControlClient | undefined {
    return this.#connected.get(parent)
  }

  /** Hangs up on all; they live on. */
  close(): void {
    this.#closed = true
    this.#watcher.close()
    for (const host of this.#connected.values()) host.close()
  }

  /** Something has happened to a name in the directory. */
  #look(name: string | null): void {
    if (name === null || !name.endsWith(SUFFIX)) return
    const parent = name.slice(0, -SUFFIX.length)
    if (this.#connected.has(parent) || this.#trying.has(parent)) return
    this.#trying.add(parent)
    this.#connect(parent)
      .catch((error: unknown) => this.#log.warn(`host of ${parent}: ${describeError(error)}`))
      .finally(() => this.#trying.delete(parent))
  }

  async #connect(parent: string): Promise<void> {
    const path = hostSocket(this.#root, parent)
    const backOff = new BackOff({ firstMs: FIRST_TRY_MS, longestMs: LONGEST_WAIT_MS })
    for (let tries = 1; !this.#closed; tries++) {
      try {
        this.#welcome(parent, await hostAt(path, parent))
        return
      } catch (error) {
        const code = codeOf(error)
        if (code === 'ENOENT') return // it has gone again
        if (code === 'EPROTO') throw error
        if (tries >= TRIES && !isLocked(hostLock(this.#root, parent))) {
          if (code === 'ECONNREFUSED') rmSync(path, { force: true }) // of one that was killed
          throw error
        }
        if (tries === TRIES)
          this.#log.warn(`host of ${parent}: ${describeError(error)}; tried again until it answers`)
      }
      const waitMs = tries < TRIES ? backOff.failed() : SELDOM_MS
      await new Promise((resolve) => setTimeout(resolve, waitMs).unref())
    }
  }

  #welcome(parent: string, host: ControlClient): void {
    if (this.#closed) {
      host.close()
      return
    }
    this.#connected.set(parent, host)
    host.on('event', (event) => this.emit('event', event, host))
    host.on('close', () => {
      if (this.#connected.get(parent) !== host) return
      this.#connected.delete(parent)
      if (this.#closed) return
      this.emit('down', parent)
      this.#look(`${parent}${SUFFIX}`) // only the connection may have gone, or the next host may be there already
    })
    this.emit('up', host)
  }
}

/** @throws as ControlClient.connect · EPROTO it is another parent's */
async function hostAt(path: string, parent: string): Promise<ControlClient> {
  const host = await ControlClient.connect(path)
  const { name } = host.parent
  if (name === parent) return host
  host.close()
  throw new ErrnoError('EPROTO', `says that it is the host of ${JSON.stringify(name)}`)
}
