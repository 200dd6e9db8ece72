/**
 * A group: the unit of ownership. One user process at a time; first open and last close reach each driver once.
 *
 * An mdev has a group of its own, or has joined one with others, under whatever parents.
 */
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { Claim } from './claims.ts'
import type { ToldDriver } from './told-driver.ts'

/** Who uses a group: the client of one of its mdevs. */
export interface GroupUser {
  /** For messages: `pid 4711 (qemu-system-x86)`. */
  readonly description: string
  /** Which process that is: the same text for all clients of one process, and for no other while the machine runs. */
  readonly process: string
  /** Ends the use at once, because the mdev is being removed. Closing what it opened is its own affair. */
  evict(): void
}

/** An mdev as the other members of its group know it. */
export interface GroupMember {
  readonly uuid: string
  /** Its parent's name. */
  readonly parent: string
  /** As in sysfs: `mtty-2`. */
  readonly type: string
}

/** From the first open of any member to the last close. */
export interface GroupUse {
  /** No two uses have the same. */
  readonly id: string
  readonly number: number
  /** Of a group that was joined. */
  readonly uuid?: string
  /** For people: `pid 4711 (qemu-system-x86)`. */
  readonly user: string
  readonly members: readonly GroupMember[]
}

/** That a parent's driver has been told of a use, for as long as this is held. */
export interface GroupHold {
  /** Resolves when the driver is ready; nothing where it is at once. @throws what the driver says, as a rejection */
  readonly ready: void | Promise<void>
  /** Idempotent. */
  release(): void
}

/** A parent with members in joined groups, as those see it who take a use. */
export interface GroupParty {
  /** Its name. */
  readonly parent: string
  readonly log: Logger
  /** @returns nothing where it has no member in that group any more @throws what its driver says */
  hold(use: GroupUse): GroupHold | undefined
}

/** Where an mdev stands. */
export interface Group {
  readonly number: number
  /** Of a group that it has joined. */
  readonly uuid?: string
  /** Who has this mdev of it open, or is about to. */
  readonly user: GroupUser | undefined
  /**
   * Opens it for the client of this mdev.
   *
   * @returns nothing where it is open at once, else a promise of it, of which {@link close} is the end in any case
   * @throws EBUSY another process has it · ETIMEDOUT a driver takes too long · what a driver says
   */
  open(user: GroupUser): void | Promise<void>
  close(user: GroupUser): void
  /** @throws EBUSY somebody has a member of it open */
  mustBeIdle(): void | Promise<void>
  /** Its driver is about to let go of the mdev, and is told of the end of a use before, where this was its last one in it. */
  depart(): void
  /** The mdev is in it no more. Idempotent. */
  leave(): void
}

/** How long first open may take in all: QEMU gives up on an answer after 5 s. */
export const OPEN_TIMEOUT_MS = 2000

/** The group that an mdev has of its own. */
export class OwnGroup implements Group {
  readonly number: number
  readonly #claim: Claim<number>
  readonly #told: ToldDriver | undefined
  readonly #member: GroupMember
  #uses = 0
  #left = false
  #user: GroupUser | undefined
  #hold: GroupHold | undefined

  /** @param told what is to be told of its use, if anything */
  constructor(claim: Claim<number>, member: GroupMember, told: ToldDriver | undefined) {
    this.number = claim.value
    this.#claim = claim
    this.#member = member
    this.#told = told
  }

  get user(): GroupUser | undefined {
    return this.#user
  }

  open(user: GroupUser): void | Promise<void> {
    if (this.#user !== undefined) throw inUse(this.number, this.#user.description)
    const hold = this.#told?.hold({
      id: String(this.#uses++),
      number: this.number,
      user: user.description,
      members: [this.#member],
    })
    this.#user = user
    this.#hold = hold
    return hold?.ready
  }

  close(user: GroupUser): void {
    if (this.#user !== user) return
    this.#user = undefined
    this.#hold?.release()
    this.#hold = undefined
  }

  mustBeIdle(): void {
    if (this.#user !== undefined) throw inUse(this.number, this.#user.description)
  }

  depart(): void {
    this.#told?.end()
  }

  leave(): void {
    this.depart()
    if (this.#left) return
    this.#left = true
    this.#claim.release()
  }
}

/** @param by who uses it */
export function inUse(number: number, by: string): ErrnoError {
  return new ErrnoError('EBUSY', `group ${number}: in use by ${by}`)
}

export function tooLate(number: number): ErrnoError {
  const seconds = OPEN_TIMEOUT_MS / 1000
  return new ErrnoError('ETIMEDOUT', `group ${number}: not every driver is ready in ${seconds} s`)
}
