/**
 * What hosts know together of a group that mdevs have joined: `<root>/groups/<uuid>/`.
 *
 * - `lock`: held for moments by who reads or changes the rest.
 * - `<uuid of an mdev>`: a member. Its host holds an exclusive lock on it for as long as it is one.
 * - `user`: which process has members open. The host of each of these holds a shared lock on it.
 *
 * Locks end with their process, so what a killed host was or did is over with it.
 */
import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Static } from 'typebox'
import { Check, type XSchema } from 'typebox/schema'
import { codeOf, ErrnoError } from '../lib/errno.ts'
import { type GroupMember, type GroupUser, inUse } from '../mdev/group.ts'
import { readSmallFile } from '../os/atomic-file.ts'
import { type FileLock, tryLockFile } from '../os/file-lock.ts'
import { isRunning } from '../os/process.ts'
import { LOCK, lockIn, namesIn, removeLock } from './lock-files.ts'

const USER = 'user'
/** Between two tries to lock what others hold for moments. */
const RETRY_MS = 5
/** How often it is tried where a process has the group open: it may just have closed it, and its hosts notice in moments. */
const MAX_TRIES = 20
/** The same where the process has ended. */
const MAX_TRIES_ENDED = 200
/** Bytes; ours are much smaller. */
const MAX_RECORD = 16 * 1024

const STRING = { type: 'string' } as const
const MEMBER = {
  type: 'object',
  properties: { parent: STRING, type: STRING, number: { type: 'integer' } },
  required: ['parent', 'type', 'number'],
} as const
const USER_RECORD = {
  type: 'object',
  properties: { id: STRING, process: STRING, user: STRING },
  required: ['id', 'process', 'user'],
} as const

export interface MemberRecord extends GroupMember {
  /** Of the group. */
  readonly number: number
}

/** Who has the group open. */
export type UserRecord = Static<typeof USER_RECORD>

/** What `action` of {@link GroupDirectory.locked} returns where it is to be called again. */
export const AGAIN = Symbol('again')

export class GroupDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /**
   * Runs `action` while nobody else reads or changes anything here; again in a moment, where it says so.
   *
   * @throws what `action` throws · the reason of `signal`
   */
  async locked<T>(signal: AbortSignal, action: (tries: number) => T | typeof AGAIN): Promise<T> {
    for (let tries = 0; ;) {
      signal.throwIfAborted()
      const lock = lockIn(this.path, LOCK)
      if (lock !== undefined) {
        try {
          const result = action(++tries)
          if (result !== AGAIN) return result
        } finally {
          this.#unlock(lock)
        }
      }
      await sleep(RETRY_MS)
    }
  }

  /** While locked: all that are there, by UUID. @throws EIO a file that is locked as a member's and is none */
  members(): readonly MemberRecord[] {
    return this.#memberNames().flatMap((uuid) => {
      const path = join(this.path, uuid)
      const stale = tryLockFile(path, { shared: true })
      if (stale !== undefined) {
        rmSync(path, { force: true }) // its host was killed
        stale.release()
        return []
      }
      const record = read(path, MEMBER)
      return record === undefined ? [] : [{ ...record, uuid }]
    })
  }

  /** While locked: makes an mdev a member. @returns its lock, to be given to {@link leave} */
  enter({ uuid, ...record }: MemberRecord): FileLock {
    const lock = tryLockFile(join(this.path, uuid), { text: JSON.stringify(record) })
    if (lock === undefined)
      throw new ErrnoError('EEXIST', `group ${this.path}: has mdev ${uuid} already`)
    return lock
  }

  /** At any time. */
  leave(uuid: string, lock: FileLock): void {
    rmSync(join(this.path, uuid), { force: true })
    lock.release()
    try {
      const mine = tryLockFile(join(this.path, LOCK))
      if (mine !== undefined) this.#unlock(mine) // else whoever has it tidies up
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error // somebody else has tidied up
    }
  }

  /**
   * While locked: takes the use for a client, beside what its process has open already.
   *
   * @returns the lock that stands for it, and who uses the group, with what no other use has; {@link AGAIN} where it may be
   *          free in a moment
   * @throws EBUSY another process has it open
   */
  use(
    user: GroupUser,
    number: number,
    tries: number,
  ): { readonly lock: FileLock; readonly record: UserRecord } | typeof AGAIN {
    const path = join(this.path, USER)
    const record = { id: randomUUID(), process: user.process, user: user.description }
    const alone = tryLockFile(path, { text: JSON.stringify(record) })
    if (alone?.share() === true) return { lock: alone, record }
    const theirs = read(path, USER_RECORD)
    if (theirs?.process !== user.process) return refuse(theirs, number, tries)
    const lock = tryLockFile(path, { shared: true })
    return lock === undefined ? AGAIN : { lock, record: theirs }
  }

  /** While locked. @returns {@link AGAIN} as {@link use} @throws EBUSY somebody has it open */
  checkIdle(number: number, tries: number): typeof AGAIN | undefined {
    const path = join(this.path, USER)
    const alone = tryLockFile(path)
    if (alone === undefined) return refuse(read(path, USER_RECORD), number, tries)
    alone.release()
    return undefined
  }

  #memberNames(): readonly string[] {
    return namesIn(this.path)
      .filter((name) => name !== LOCK && name !== USER)
      .toSorted()
  }

  /** Whoever finds that nobody is a member any more leaves nothing behind. */
  #unlock(lock: FileLock): void {
    try {
      if (this.#memberNames().length > 0) return
      rmSync(join(this.path, USER), { force: true })
      removeLock(this.path)
    } finally {
      lock.release()
    }
  }
}

/** @throws EBUSY, once this has gone on for long enough */
function refuse(user: UserRecord | undefined, number: number, tries: number): typeof AGAIN {
  const hasEnded = user !== undefined && !isRunning(user.process)
  if (tries < (hasEnded ? MAX_TRIES_ENDED : MAX_TRIES)) return AGAIN
  throw inUse(number, user?.user ?? 'somebody')
}

/** What the holder of its lock has written; nothing where it has just gone. @throws EIO it is none of ours */
function read<S extends XSchema>(path: string, schema: S): Static<S> | undefined {
  let record: unknown
  try {
    record = JSON.parse(readSmallFile(path, MAX_RECORD))
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw new ErrnoError('EIO', `${path}: cannot be read`, { cause: error })
  }
  if (Check(schema, record)) return record
  throw new ErrnoError('EIO', `${path}: not written by mdevkit`)
}
