/** Which group an mdev is in, and its way from one to another: until it has left the one it is in both, and cannot be opened. */
import type { Logger } from '../lib/log.ts'
import type { Group } from './group.ts'

export interface MembershipOptions {
  /** Of its own. */
  readonly group: Group
  /** Makes it a member of a group, by its UUID; of a new one of its own when that is empty. */
  readonly joinGroup: (uuid: string) => Promise<Group>
  readonly log: Logger
}

export class Membership {
  readonly #joinGroup: MembershipOptions['joinGroup']
  readonly #log: Logger
  #group: Group
  #moving = false

  constructor({ group, joinGroup, log }: MembershipOptions) {
    this.#group = group
    this.#joinGroup = joinGroup
    this.#log = log
  }

  get group(): Group {
    return this.#group
  }

  /** It is about to be in another group, or another device in it: until {@link settle}. */
  get moving(): boolean {
    return this.#moving
  }

  /**
   * Joins the group that is named by a UUID, or a new one of its own.
   *
   * @returns nothing where it is in that group already; else a promise of it, for {@link replace}
   * @throws EBUSY that group, or the one it is in, is in use · as Claims.joinGroup
   */
  join(uuid: string): Promise<Group> | undefined {
    return uuid === (this.#group.uuid ?? '') ? undefined : this.#join(uuid)
  }

  async #join(uuid: string): Promise<Group> {
    await this.hold()
    return this.#joinGroup(uuid)
  }

  /** Keeps the mdev from being opened. @throws EBUSY its group is in use */
  async hold(): Promise<void> {
    this.#moving = true
    await this.#group.mustBeIdle()
  }

  /** It is in `group` from now on. @returns the one that it was in, to be left */
  replace(group: Group): Group {
    const before = this.#group
    this.#group = group
    return before
  }

  /** Whatever has been begun is over. @param left a group that it has left, or has not joined after all */
  settle(left: Group | undefined): void {
    this.#moving = false
    try {
      left?.leave()
    } catch (error) {
      // where the group's files cannot be tidied up, the mdev is in it no more all the same
      this.#log.error(`leaving group ${left?.number}`, error)
    }
  }
}
