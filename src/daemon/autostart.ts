/** Starts what is defined as 'auto' whenever its parent is there, and tries again, ever more seldom, where that fails. */
import { EventEmitter } from 'node:events'
import type { ControlClient } from '../host/control-client.ts'
import { BackOff, type BackOffOptions } from '../lib/back-off.ts'
import { describeError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { DefinitionKey } from '../mdev/control-plane.ts'
import { type Owner, ownerOfDefinition } from '../mdev/owner.ts'
import type { CalloutPlane } from './callout-plane.ts'
import type { Hosts } from './hosts.ts'
import type { Machine } from './machine.ts'

const BACK_OFF = { firstMs: 1000, longestMs: 5 * 60_000 }

/** An mdev that should be active and is not. */
export interface Waiting extends DefinitionKey {
  /** What was said the last time. */
  readonly why: string
}

interface Attempt {
  readonly key: DefinitionKey
  /** Of its definition. */
  readonly owner: Owner | undefined
  readonly backOff: BackOff
  why: string
  timer: NodeJS.Timeout | undefined
}

export interface AutostartOptions {
  readonly machine: Machine | CalloutPlane
  readonly hosts: Hosts
  readonly log: Logger
  /** Whose definitions are that name nobody. */
  readonly owner?: Owner
  readonly backOff?: BackOffOptions
}

/**
 * - `started`: an mdev is active now. - `waiting`: it could not be started, and is tried again. - `forgotten`: nobody wants
 *   that any more.
 */
interface AutostartEvents {
  started: [key: DefinitionKey]
  waiting: [mdev: Waiting]
  forgotten: [key: DefinitionKey]
}

export class Autostart extends EventEmitter<AutostartEvents> {
  readonly #options: AutostartOptions
  readonly #attempts = new Map<string, Attempt>()

  constructor(options: AutostartOptions) {
    super()
    this.#options = options
    const { hosts } = options
    hosts.on('up', this.#onUp)
    hosts.on('down', this.#onDown)
    for (const host of hosts.all) this.#onUp(host)
  }

  /** What could not be started yet, and is tried again. */
  get waiting(): readonly Waiting[] {
    return [...this.#attempts.values()]
      .filter(({ why }) => why !== '')
      .map(({ key: { parent, uuid }, why }) => ({ parent, uuid, why }))
  }

  close(): void {
    const { hosts } = this.#options
    hosts.off('up', this.#onUp)
    hosts.off('down', this.#onDown)
    for (const { timer } of this.#attempts.values()) clearTimeout(timer)
    this.#attempts.clear()
  }

  readonly #onUp = (host: ControlClient): void => {
    const { log } = this.#options
    this.#startAll(host.parent.name).catch((error: unknown) => log.error('autostart', error))
  }

  async #startAll(name: string): Promise<void> {
    const { mdevs } = await this.#options.machine.list()
    for (const { parent, uuid, definition, active } of mdevs) {
      if (parent !== name || definition?.start !== 'auto' || active !== undefined) continue
      this.#begin({ parent, uuid }, ownerOfDefinition(definition) ?? this.#options.owner)
    }
  }

  /** Its mdevs are tried again when it is back. */
  readonly #onDown = (parent: string): void => {
    for (const [id, { key, timer }] of this.#attempts) {
      if (key.parent !== parent) continue
      clearTimeout(timer)
      this.#attempts.delete(id)
    }
  }

  #begin(key: DefinitionKey, owner: Owner | undefined): void {
    const id = `${key.parent}/${key.uuid}`
    if (this.#attempts.has(id)) return
    const backOff = new BackOff(this.#options.backOff ?? BACK_OFF)
    const attempt: Attempt = { key, owner, backOff, why: '', timer: undefined }
    this.#attempts.set(id, attempt)
    void this.#try(id, attempt)
  }

  async #try(id: string, attempt: Attempt): Promise<void> {
    const { machine, log } = this.#options
    const { parent, uuid } = attempt.key
    try {
      await machine.start({ parent, uuid }, attempt.owner)
      log.info(`mdev ${uuid}: started on parent ${parent}`)
      if (this.#forget(id, attempt)) this.emit('started', attempt.key)
    } catch (error) {
      const wanted = await this.#isStillWanted(attempt.key)
      if (!wanted) {
        if (this.#forget(id, attempt)) this.emit('forgotten', attempt.key)
        return
      }
      if (this.#attempts.get(id) !== attempt) return // its parent has gone meanwhile
      const waitMs = attempt.backOff.failed()
      attempt.why = describeError(error)
      log.warn(`mdev ${uuid}: not started: ${attempt.why}; tried again in ${waitMs / 1000} s`)
      attempt.timer = setTimeout(() => void this.#try(id, attempt), waitMs)
      this.emit('waiting', { parent, uuid, why: attempt.why })
    }
  }

  /** @returns false where it is forgotten already: its parent has gone meanwhile */
  #forget(id: string, attempt: Attempt): boolean {
    return this.#attempts.get(id) === attempt && this.#attempts.delete(id)
  }

  /** Somebody may have started it, or changed its definition. Where that cannot be seen just now, it is wanted. */
  async #isStillWanted({ parent, uuid }: DefinitionKey): Promise<boolean> {
    try {
      const { mdevs } = await this.#options.machine.list()
      const mdev = mdevs.find((each) => each.parent === parent && each.uuid === uuid)
      return mdev?.definition?.start === 'auto' && mdev.active === undefined
    } catch {
      return true
    }
  }
}
