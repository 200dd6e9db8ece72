/** Where things are at run time. */
import { lstatSync, mkdirSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'

/** The run-time root of this user: `MDEVKIT_ROOT`, `/run/mdevkit` for root, else below XDG_RUNTIME_DIR or /tmp. */
export function runtimeRoot(environment: NodeJS.ProcessEnv = process.env): string {
  const { MDEVKIT_ROOT: chosen, XDG_RUNTIME_DIR: userRuntime } = environment
  if (chosen !== undefined && chosen !== '') return chosen
  const { uid } = userInfo()
  if (uid === 0) return '/run/mdevkit'
  if (userRuntime !== undefined && userRuntime !== '') return join(userRuntime, 'mdevkit')
  return join(tmpdir(), `mdevkit-${uid}`)
}

/** The directory of one mdev: its socket, its lock, and what its driver puts there. */
export function mdevDirectory(root: string, uuid: string): string {
  return join(root, 'devices', uuid)
}

/** The vfio-user socket in an mdev's directory. */
export function mdevSocket(directory: string): string {
  return join(directory, 'cntrl')
}

/**
 * Makes the root, private to this user.
 *
 * @throws EACCES, EROFS, ENOTDIR · EPERM it is there and belongs to somebody else
 */
export function prepareRoot(root: string): void {
  mkdirSync(root, { recursive: true, mode: 0o700 })
  const { uid } = userInfo()
  const stat = lstatSync(root)
  // Below /tmp anybody could have made it first, to look at what comes.
  if (!stat.isDirectory() || (stat.uid !== uid && uid !== 0)) {
    throw new ErrnoError('EPERM', `run-time root ${root}: not a directory of ours`)
  }
}
