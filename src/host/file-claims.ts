/** Claims that hold on the whole machine: lock files below the run-time root, which end with their process. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'
import type { Claim, Claims } from '../mdev/claims.ts'
import type { GroupMember, GroupParty } from '../mdev/group.ts'
import type { GroupPlace } from '../mdev/joined-group.ts'
import { lockHolder } from '../os/file-lock.ts'
import { isAnswered } from '../os/unix-socket.ts'
import { FileGroups } from './file-groups.ts'
import { claimOf, emptyDirectory, LOCK, lockIn, removeLock } from './lock-files.ts'
import { groupsDirectory, hostLock, mdevDirectory, mdevSocket, prepareRoot } from './paths.ts'

/** What can be one part of a path. */
const FILE_NAME = /^(?!\.\.?$)[^/\0]+$/

export class FileClaims implements Claims {
  readonly #root: string
  /** Files that are ours already, and need not be tried: else the thousandth mdev tries a thousand locks. */
  readonly #ours = new Set<string>()
  readonly #groups: FileGroups

  /** @throws what makes the root unusable */
  constructor(root: string) {
    this.#root = root
    this.#groups = new FileGroups(root)
    prepareRoot(root)
  }

  claimUuid(uuid: string): Claim<string> {
    const directory = mdevDirectory(this.#root, uuid)
    const lock = lockIn(directory, LOCK)
    if (lock === undefined) {
      const pid = lockHolder(join(directory, LOCK))
      throw new ErrnoError(
        'EEXIST',
        `mdev ${uuid}: in use${pid === undefined ? '' : ` by pid ${pid}`}`,
      )
    }
    try {
      if (isAnswered(mdevSocket(directory))) {
        throw new ErrnoError(
          'EEXIST',
          `mdev ${uuid}: another program serves ${mdevSocket(directory)}`,
        )
      }
      emptyDirectory(directory) // what a killed process has left
    } catch (error) {
      claimOf(directory, lock, () => removeLock(directory)).release() // as we found it
      throw error
    }
    return claimOf(directory, lock, () => {
      // The lock goes last: once it is unlinked, another process may take the UUID and make files of its own there.
      emptyDirectory(directory)
      removeLock(directory)
    })
  }

  claimGroup(): Claim<number> {
    return this.#claimFirst(groupsDirectory(this.#root), (attempt) => attempt)
  }

  joinGroup(uuid: string, member: GroupMember, party: GroupParty): Promise<GroupPlace> {
    return this.#groups.join(uuid, member, party)
  }

  /**
   * Takes exactly this name for a parent.
   *
   * @throws EBUSY another host has it · EINVAL it cannot be the name of a file
   */
  claimExactParent(name: string): Claim<string> {
    const claim = this.#tryClaim(join(this.#root, 'hosts'), checkedName(name))
    if (claim !== undefined) return claim
    const pid = lockHolder(hostLock(this.#root, name)) ?? '?'
    throw new ErrnoError('EBUSY', `parent ${name}: the host with pid ${pid} has it`)
  }

  /**
   * Takes a name for a parent: `wanted`, or `wanted.1`, `wanted.2` … while that is another host's.
   *
   * @throws EINVAL it cannot be the name of a file
   */
  claimParent(wanted: string): Claim<string> {
    checkedName(wanted)
    return this.#claimFirst(join(this.#root, 'hosts'), (attempt) =>
      attempt === 0 ? wanted : `${wanted}.${attempt}`,
    )
  }

  #claimFirst<T extends string | number>(
    directory: string,
    nameOf: (attempt: number) => T,
  ): Claim<T> {
    for (let attempt = 0; ; attempt++) {
      const claim = this.#tryClaim(directory, nameOf(attempt))
      if (claim !== undefined) return claim
    }
  }

  #tryClaim<T extends string | number>(directory: string, value: T): Claim<T> | undefined {
    const file = `${value}.lock`
    const path = join(directory, file)
    if (this.#ours.has(path)) return undefined
    const lock = lockIn(directory, file)
    if (lock === undefined) return undefined
    this.#ours.add(path)
    return claimOf(value, lock, () => {
      this.#ours.delete(path)
      rmSync(path, { force: true })
    })
  }
}

/** Whether a parent can be named so. */
export function isParentName(name: string): boolean {
  return FILE_NAME.test(name)
}

/** @throws EINVAL */
function checkedName(parent: string): string {
  if (isParentName(parent)) return parent
  throw new ErrnoError('EINVAL', `parent name ${JSON.stringify(parent)}: not a file name`)
}
