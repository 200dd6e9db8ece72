/** Claims that hold on the whole machine: lock files below the run-time root, which end with their process. */
import { mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'
import type { Claim, Claims } from '../mdev/claims.ts'
import { type FileLock, lockHolder, tryLockFile } from '../os/file-lock.ts'
import { isAnswered } from '../os/unix-socket.ts'
import { mdevDirectory, mdevSocket, prepareRoot } from './paths.ts'

const LOCK = 'lock'
/** Far more than others can take the directory away in a row; a link that leads nowhere is ENOENT for ever. */
const MAX_ATTEMPTS = 1000
/** What can be one part of a path. */
const FILE_NAME = /^(?!\.\.?$)[^/\0]+$/

export class FileClaims implements Claims {
  readonly #root: string
  /** What of a kind is ours already, and need not be tried: else the thousandth mdev tries a thousand locks. */
  readonly #ours = new Set<string>()

  /** @throws what makes the root unusable */
  constructor(root: string) {
    this.#root = root
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
    return this.#claimFirst('groups', (attempt) => attempt)
  }

  /**
   * Takes a name for a parent: `wanted`, or `wanted.1`, `wanted.2` … while that is another host's.
   *
   * @throws EINVAL it cannot be the name of a file
   */
  claimParent(wanted: string): Claim<string> {
    if (!FILE_NAME.test(wanted)) {
      throw new ErrnoError('EINVAL', `parent name ${JSON.stringify(wanted)}: not a file name`)
    }
    return this.#claimFirst('hosts', (attempt) => (attempt === 0 ? wanted : `${wanted}.${attempt}`))
  }

  #claimFirst<T extends string | number>(kind: string, nameOf: (attempt: number) => T): Claim<T> {
    const directory = join(this.#root, kind)
    for (let attempt = 0; ; attempt++) {
      const value = nameOf(attempt)
      const file = `${value}.lock`
      const ours = `${kind} ${value}`
      if (this.#ours.has(ours)) continue
      const lock = lockIn(directory, file)
      if (lock === undefined) continue
      this.#ours.add(ours)
      return claimOf(value, lock, () => {
        this.#ours.delete(ours)
        rmSync(join(directory, file), { force: true })
      })
    }
  }
}

/** A claim that holds while `lock` does. `tidy` removes the lock's file, and runs first: the file may be another's later. */
function claimOf<T>(value: T, lock: FileLock, tidy: () => void): Claim<T> {
  let held = true
  return {
    value,
    release() {
      if (!held) return
      held = false
      try {
        tidy()
      } finally {
        lock.release()
      }
    },
  }
}

/** Locks `directory`/`file`; both are made if need be. The directory may vanish at any moment with its last holder. */
function lockIn(directory: string, file: string): FileLock | undefined {
  for (let attempt = 1; ; attempt++) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      return tryLockFile(join(directory, file))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Removes all but the lock. */
function emptyDirectory(directory: string): void {
  for (const name of namesIn(directory)) {
    if (name !== LOCK) rmSync(join(directory, name), { recursive: true, force: true })
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [] // somebody has tidied up by hand
    throw error
  }
}

/** Removes the lock, and the directory if that was all. */
function removeLock(directory: string): void {
  rmSync(join(directory, LOCK), { force: true })
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY'].includes(codeOf(error) ?? '')) throw error
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
