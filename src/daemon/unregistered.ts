/**
 * Which parents an administrator has unregistered: an empty file for each, `<root>/unregistered/<parent>`. It outlives the
 * daemon, so that none comes back when that is upgraded, but not a reboot, where the root is below /run.
 */
import { existsSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory, unregisteredDirectory } from '../host/paths.ts'

export class Unregistered {
  readonly #directory: string

  /** @param root the run-time root */
  constructor(root: string) {
    this.#directory = unregisteredDirectory(root)
  }

  has(parent: string): boolean {
    return existsSync(join(this.#directory, parent))
  }

  /** Idempotent. @throws ENOSPC, EACCES … it cannot be kept */
  add(parent: string): void {
    makeDirectory(this.#directory, 0o700)
    writeFileSync(join(this.#directory, parent), '', { mode: 0o600 })
  }

  /** Idempotent. @throws EACCES, EROFS … */
  delete(parent: string): void {
    rmSync(join(this.#directory, parent), { force: true })
    try {
      rmdirSync(this.#directory)
    } catch {
      // others are in there, or it is not there
    }
  }
}
