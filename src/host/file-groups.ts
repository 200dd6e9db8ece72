/** Groups that mdevs of several hosts have joined: who is in them and who uses them is in files, what drivers are told goes by socket. */
import { mkdirSync } from 'node:fs'
import { type Clock, systemClock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import { Unwind } from '../lib/unwind.ts'
import { within } from '../lib/within.ts'
import {
  type GroupMember,
  type GroupParty,
  type GroupUse,
  type GroupUser,
  OPEN_TIMEOUT_MS,
} from '../mdev/group.ts'
import { holdAll } from '../mdev/group-holds.ts'
import type { GroupPlace, TakenUse } from '../mdev/joined-group.ts'
import { GroupServer, holdAt } from './group-calls.ts'
import { AGAIN, GroupDirectory } from './group-directory.ts'
import { claimSharedNumber, joinSharedNumber } from './group-number.ts'
import { groupDirectory, groupsDirectory, groupSocket } from './paths.ts'

/** One parent that listens, for as many mdevs as it has in joined groups. */
interface Door {
  readonly server: GroupServer
  members: number
}

/** A member of ours. */
interface Place {
  readonly uuid: string
  readonly directory: GroupDirectory
  readonly number: number
  readonly party: GroupParty
}

export class FileGroups {
  readonly #root: string
  readonly #clock: Clock
  readonly #doors = new Map<GroupParty, Door>()

  constructor(root: string, clock: Clock = systemClock) {
    this.#root = root
    this.#clock = clock
  }

  /** @throws EBUSY somebody has a member of it open · ETIMEDOUT it is locked all the time · EACCES, ENAMETOOLONG, ENOSPC */
  async join(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace> {
    const directory = new GroupDirectory(groupDirectory(this.#root, uuid))
    const numbers = groupsDirectory(this.#root)
    using undo = new Unwind()
    this.#open(party) // first: once it is a member, others may call
    undo.defer(() => this.#close(party))
    const { claim, lock } = await this.#within(uuid, (signal) =>
      directory.locked(signal, (tries) => {
        const [first] = directory.members()
        if (directory.checkIdle(first?.number ?? 0, tries) === AGAIN) return AGAIN
        const taken =
          first === undefined ? claimSharedNumber(numbers) : joinSharedNumber(numbers, first.number)
        if (taken === undefined) return AGAIN // its last member has just left
        try {
          return { claim: taken, lock: directory.enter({ ...member, number: taken.value }) }
        } catch (error) {
          taken.release()
          throw error
        }
      }),
    )
    undo.keep()
    const place = { uuid, directory, number: claim.value, party }
    let left = false
    return {
      number: claim.value,
      open: (user, signal) => this.#use(place, user, signal),
      mustBeIdle: () =>
        this.#within(uuid, (signal) =>
          directory.locked(signal, (tries) => directory.checkIdle(claim.value, tries)),
        ),
      leave: () => {
        if (left) return
        left = true
        using steps = new Unwind() // all of them, whichever fails
        steps.defer(() => this.#close(party))
        steps.defer(() => claim.release())
        steps.defer(() => directory.leave(member.uuid, lock))
      },
    }
  }

  /** Takes the use, which only one process can have, and then tells every parent with members. */
  async #use(
    { uuid, directory, number, party }: Place,
    user: GroupUser,
    signal: AbortSignal,
  ): Promise<TakenUse> {
    using undo = new Unwind()
    const { lock, record, members } = await directory.locked(signal, (tries) => {
      const taken = directory.use(user, number, tries)
      return taken === AGAIN ? AGAIN : { ...taken, members: directory.members() }
    })
    undo.defer(() => lock.release())
    const use: GroupUse = {
      id: record.id,
      number,
      uuid,
      user: record.user,
      members: members.map(({ uuid: mdev, parent, type }) => ({ uuid: mdev, parent, type })),
    }
    const others = new Set(members.map(({ parent }) => parent))
    others.delete(party.parent)
    const held = await holdAll(
      [
        () => party.hold(use),
        ...[...others].map((parent) => () => holdAt(groupSocket(this.#root, parent), use)),
      ],
      signal,
    )
    undo.keep()
    return {
      close: () => {
        held.close() // first: who comes next finds that all have been told of the end
        lock.release()
      },
    }
  }

  #open(party: GroupParty): void {
    const door = this.#doors.get(party)
    if (door !== undefined) {
      door.members++
      return
    }
    mkdirSync(groupsDirectory(this.#root), { recursive: true, mode: 0o700 })
    const server = new GroupServer(groupSocket(this.#root, party.parent), party)
    this.#doors.set(party, { server, members: 1 })
  }

  #close(party: GroupParty): void {
    const door = this.#doors.get(party)
    if (door === undefined || --door.members > 0) return
    this.#doors.delete(party)
    door.server.close()
  }

  #within<T>(uuid: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = () => new ErrnoError('ETIMEDOUT', `group ${uuid}: locked by others all the time`)
    return within(this.#clock, OPEN_TIMEOUT_MS, late, work)
  }
}
