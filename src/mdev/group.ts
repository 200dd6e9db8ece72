/** A group: the unit of ownership. One user at a time; first open and last close reach each member once. */
import { ErrnoError } from '../lib/errno.ts'

/** Who uses a group: the client of one of its mdevs. */
export interface GroupUser {
  /** For messages: `pid 4711 (qemu-system-x86)`. */
  readonly description: string
  /** Ends the use at once, because the mdev is being removed. Closing what it opened is its own affair. */
  evict(): void
}

export class Group {
  readonly number: number
  #user: GroupUser | undefined

  constructor(number: number) {
    this.number = number
  }

  get user(): GroupUser | undefined {
    return this.#user
  }

  /** @throws EBUSY another user has it */
  open(user: GroupUser): void {
    if (this.#user !== undefined) {
      throw new ErrnoError('EBUSY', `group ${this.number}: in use by ${this.#user.description}`)
    }
    this.#user = user
  }

  close(user: GroupUser): void {
    if (this.#user === user) this.#user = undefined
  }
}
