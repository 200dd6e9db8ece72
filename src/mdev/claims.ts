/** What must be unique on a machine, however many processes bear mdevs: UUIDs and group numbers; and who shares a group. */
import { ErrnoError } from '../lib/errno.ts'
import type { GroupMember, GroupParty } from './group.ts'
import type { GroupPlace } from './joined-group.ts'
import { LocalGroups } from './local-groups.ts'

/** Something taken, until it is released. */
export interface Claim<T> {
  readonly value: T
  release(): void
}

export interface Claims {
  /**
   * Takes a UUID, in its lower-case form.
   *
   * @returns the private directory of the mdev that will bear it, which goes with the claim
   * @throws EEXIST it is in use
   */
  claimUuid(uuid: string): Claim<string>
  /** Takes the lowest free group number. */
  claimGroup(): Claim<number>
  /**
   * Makes `member`, an mdev of `party`, a member of the group that is named by a UUID.
   *
   * @throws EBUSY somebody has a member of it open
   */
  joinGroup(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace>
}

/** Claims that hold in this process alone, without a directory; for tests and for drivers tried without a host. */
export class LocalClaims implements Claims {
  readonly #uuids = new Set<string>()
  readonly #groups = new Set<number>()
  readonly #joined = new LocalGroups(() => this.claimGroup())

  claimUuid(uuid: string): Claim<string> {
    if (this.#uuids.has(uuid)) throw new ErrnoError('EEXIST', `mdev ${uuid}: in use`)
    this.#uuids.add(uuid)
    return { value: '/nonexistent', release: () => void this.#uuids.delete(uuid) }
  }

  claimGroup(): Claim<number> {
    let number = 0
    while (this.#groups.has(number)) number++
    this.#groups.add(number)
    return { value: number, release: () => void this.#groups.delete(number) }
  }

  joinGroup(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace> {
    return this.#joined.join(uuid, member, party)
  }
}
