/** Claims that hold on the whole machine: lock files below the run-time root, which end with their process. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'
import type { Claim, Claims } from '../mdev/claims.ts'
import { type FileLock, lockHolder, tryLockFile } from '../os/file-lock.ts'
import { closeFd } from '../os/fd.ts'
import { connectUnix } from '../os/unix-socket.ts'
import { mdevDirectory, mdevSocket, prepareRoot } from './paths.ts'

const LOCK = 'lock'

export class FileClaims implements Claims {
  readonly #root: string

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
      lock.release()
      throw error
    }
    return {
      value: directory,
      release() {
        rmSync(directory, { recursive: true, force: true })
        lock.release()
      },
    }
  }

  claimGroup(): Claim<number> {
    return this.#claimFirst('groups', (attempt) => attempt)
  }

  /**
   * Takes a name for a parent: `wanted`, or `wanted.1`, `wanted.2` … while that is another host's.
   */
  claimParent(wanted: string): Claim<string> {
    return this.#claimFirst('hosts', (attempt) => (attempt === 0 ? wanted : `${wanted}.${attempt}`))
  }

  #claimFirst<T extends string | number>(kind: string, nameOf: (attempt: number) => T): Claim<T> {
    const directory = join(this.#root, kind)
    for (let attempt = 0; ; attempt++) {
      const value = nameOf(attempt)
      const file = `${value}.lock`
      const lock = lockIn(directory, file)
      if (lock === undefined) continue
      return {
        value,
        release() {
          rmSync(join(directory, file), { force: true })
          lock.release()
        },
      }
    }
  }
}

/** Locks `directory`/`file`; both are made if need be. The directory may vanish at any moment with its last holder. */
function lockIn(directory: string, file: string): FileLock | undefined {
  for (;;) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    try {
      return tryLockFile(join(directory, file))
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
  }
}

function emptyDirectory(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name !== LOCK) rmSync(join(directory, name), { recursive: true, force: true })
  }
}

/** Whether somebody listens at `path`; a socket file of a dead process refuses. */
function isAnswered(path: string): boolean {
  try {
    closeFd(connectUnix(path))
    return true
  } catch (error) {
    return error instanceof ErrnoError && error.code === 'EAGAIN' // a full backlog is somebody's
  }
}
