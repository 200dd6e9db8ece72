/** The groups that mdevs of one parent are in. */
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import type { Claims } from './claims.ts'
import type { Mdev } from './driver.ts'
import {
  type Group,
  type GroupHold,
  type GroupMember,
  type GroupParty,
  type GroupUse,
  OwnGroup,
} from './group.ts'
import { JoinedGroup } from './joined-group.ts'
import { type GroupHooks, ToldDriver } from './told-driver.ts'

export interface ParentGroupsOptions {
  /** Its name. */
  readonly parent: string
  /** What its driver does about groups, if anything. */
  readonly hooks: GroupHooks | undefined
  readonly claims: Claims
  readonly clock: Clock
  readonly log: Logger
}

/** What is in a group, as its parent knows it. */
export interface Standing {
  readonly member: GroupMember
  /** As the driver sees it; by when the group is first used. */
  handle(): Mdev
}

/** Members under this parent of one joined group. */
interface Joined {
  readonly standings: Set<Standing>
  readonly told: ToldDriver
}

export class ParentGroups implements GroupParty {
  readonly parent: string
  readonly log: Logger
  readonly #options: ParentGroupsOptions
  readonly #joined = new Map<string, Joined>()

  constructor(options: ParentGroupsOptions) {
    this.parent = options.parent
    this.log = options.log
    this.#options = options
  }

  /** A group for one mdev alone. */
  own(standing: Standing): Group {
    const { claims, hooks } = this.#options
    const told = hooks === undefined ? undefined : this.#told(() => [standing])
    return new OwnGroup(claims.claimGroup(), standing.member, told)
  }

  /**
   * Makes an mdev a member of the group that is named by a UUID, whoever else is in it.
   *
   * @throws EBUSY somebody has a member of it open · what makes the run-time root unusable
   */
  async join(uuid: string, standing: Standing): Promise<Group> {
    const { claims, clock } = this.#options
    const joined = this.#joined.get(uuid) ?? this.#found(uuid)
    joined.standings.add(standing) // first: once it has a place, others can open the group
    const depart = () => this.#depart(uuid, joined, standing)
    try {
      const place = await claims.joinGroup(uuid, standing.member, this)
      return new JoinedGroup({ uuid, place, clock, onDepart: depart })
    } catch (error) {
      depart()
      throw error
    }
  }

  hold(use: GroupUse): GroupHold | undefined {
    return this.#joined.get(use.uuid ?? '')?.told.hold(use)
  }

  #found(uuid: string): Joined {
    const standings = new Set<Standing>()
    const joined = { standings, told: this.#told(() => [...standings]) }
    this.#joined.set(uuid, joined)
    return joined
  }

  #depart(uuid: string, joined: Joined, standing: Standing): void {
    if (!joined.standings.delete(standing) || joined.standings.size > 0) return
    this.#joined.delete(uuid)
    joined.told.end()
  }

  #told(standings: () => readonly Standing[]): ToldDriver {
    const { hooks = {}, parent, clock } = this.#options
    return new ToldDriver({
      hooks,
      parent,
      clock,
      view: ({ number, uuid, user, members }) => ({
        number,
        ...(uuid === undefined ? {} : { uuid }),
        user,
        members,
        // without what is still joining: it is let in only where nobody uses the group
        mdevs: standings()
          .filter(({ member }) => members.some(({ uuid: known }) => known === member.uuid))
          .map((standing) => standing.handle()),
      }),
    })
  }
}
