/** Joined groups within one process: for tests, and for drivers tried without a host. */
import { randomUUID } from 'node:crypto'
import type { Claim } from './claims.ts'
import { type GroupMember, type GroupParty, type GroupUse, type GroupUser, inUse } from './group.ts'
import { holdAll } from './group-holds.ts'
import type { GroupPlace, TakenUse } from './joined-group.ts'

interface Shared {
  readonly uuid: string
  readonly number: Claim<number>
  readonly members: Map<GroupMember, GroupParty>
  use: { readonly of: GroupUse; readonly user: GroupUser; count: number } | undefined
}

export class LocalGroups {
  readonly #groups = new Map<string, Shared>()
  readonly #claimNumber: () => Claim<number>

  constructor(claimNumber: () => Claim<number>) {
    this.#claimNumber = claimNumber
  }

  /** @throws EBUSY somebody has a member of it open */
  async join(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace> {
    const group = this.#groups.get(uuid) ?? this.#found(uuid)
    mustBeIdle(group)
    group.members.set(member, party)
    return {
      number: group.number.value,
      open: (user, signal) => open(group, user, signal),
      mustBeIdle: async () => mustBeIdle(group),
      leave: () => {
        if (!group.members.delete(member) || group.members.size > 0) return
        this.#groups.delete(uuid)
        group.number.release()
      },
    }
  }

  #found(uuid: string): Shared {
    const group = { uuid, number: this.#claimNumber(), members: new Map(), use: undefined }
    this.#groups.set(uuid, group)
    return group
  }
}

async function open(group: Shared, user: GroupUser, signal: AbortSignal): Promise<TakenUse> {
  if (group.use !== undefined && group.use.user.process !== user.process) mustBeIdle(group)
  group.use ??= {
    of: {
      id: randomUUID(),
      number: group.number.value,
      uuid: group.uuid,
      user: user.description,
      members: [...group.members.keys()],
    },
    user,
    count: 0,
  }
  const { use } = group
  use.count++
  const release = () => {
    if (--use.count === 0) group.use = undefined
  }
  try {
    const parties = [...new Set(group.members.values())]
    const held = await holdAll(
      parties.map((party) => () => party.hold(use.of)),
      signal,
    )
    let open = true
    return {
      close: () => {
        if (!open) return
        open = false
        held.close() // first: whoever comes next finds drivers that know
        release()
      },
    }
  } catch (error) {
    release()
    throw error
  }
}

/** @throws EBUSY */
function mustBeIdle({ use, number }: Shared): void {
  if (use !== undefined) throw inUse(number.value, use.user.description)
}
