/** A group that an mdev has joined, with others under this parent or others. */
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import { within } from '../lib/within.ts'
import { type Group, type GroupUser, inUse, OPEN_TIMEOUT_MS, tooLate } from './group.ts'

/** What an mdev has of a group that it has joined, wherever that is kept. */
export interface GroupPlace {
  /** The same for all members. */
  readonly number: number
  /**
   * Takes the use of the group for this mdev's client, and tells the driver of every member, all of them or none.
   *
   * @param signal once it is aborted, all is given back
   * @throws EBUSY another process has it · what a driver says
   */
  open(user: GroupUser, signal: AbortSignal): Promise<TakenUse>
  /** @throws EBUSY somebody has a member of it open */
  mustBeIdle(): Promise<void>
  /** Gives it up. Idempotent. */
  leave(): void
}

/** The use of a group, for one of its members. */
export interface TakenUse {
  /** Idempotent. */
  close(): void
}

export interface JoinedGroupOptions {
  readonly uuid: string
  readonly place: GroupPlace
  readonly clock: Clock
  /** The parent has one member less in it. Idempotent. */
  readonly onDepart: () => void
}

export class JoinedGroup implements Group {
  readonly uuid: string
  readonly number: number
  readonly #options: JoinedGroupOptions
  #user: GroupUser | undefined
  #use: TakenUse | undefined
  /** Calls off what is being opened. */
  #end = new AbortController()

  constructor(options: JoinedGroupOptions) {
    this.uuid = options.uuid
    this.number = options.place.number
    this.#options = options
  }

  get user(): GroupUser | undefined {
    return this.#user
  }

  open(user: GroupUser): Promise<void> {
    if (this.#user !== undefined) throw inUse(this.number, this.#user.description)
    this.#user = user
    this.#end = new AbortController()
    return this.#open(user, this.#end.signal)
  }

  async #open(user: GroupUser, end: AbortSignal): Promise<void> {
    const { clock, place } = this.#options
    let use: TakenUse | undefined
    const take = async (signal: AbortSignal) => {
      const taken = await place.open(user, signal)
      if (signal.aborted) taken.close()
      else use = taken
    }
    try {
      await within(clock, OPEN_TIMEOUT_MS, () => tooLate(this.number), take, end)
      end.throwIfAborted()
      this.#use = use
    } catch (error) {
      use?.close() // it may have been taken in the very moment that it was called off
      throw error
    }
  }

  close(user: GroupUser): void {
    if (this.#user !== user) return
    this.#end.abort(new ErrnoError('ECONNABORTED', `group ${this.number}: the client has gone`))
    this.#use?.close()
    this.#use = undefined
    this.#user = undefined
  }

  async mustBeIdle(): Promise<void> {
    if (this.#user !== undefined) throw inUse(this.number, this.#user.description) // of what it has not taken yet, too
    await this.#options.place.mustBeIdle()
  }

  depart(): void {
    this.#options.onDepart()
  }

  leave(): void {
    this.depart()
    if (this.#user !== undefined) this.close(this.#user) // it clings to what is no more
    this.#options.place.leave()
  }
}
