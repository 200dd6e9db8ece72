/** Where things are at run time. */
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'

/** The run-time root of this user: `MDEVKIT_ROOT`, `/run/mdevkit` for root, else below XDG_RUNTIME_DIR or /tmp. */
export function runtimeRoot(environment: NodeJS.ProcessEnv = process.env): string {
  const { MDEVKIT_ROOT: chosen, XDG_RUNTIME_DIR: userRuntime } = environment
  if (chosen !== undefined && chosen !== '') return resolve(chosen)
  const uid = ourUid()
  if (uid === 0) return '/run/mdevkit'
  if (userRuntime !== undefined && userRuntime !== '') return join(userRuntime, 'mdevkit')
  return join('/tmp', `mdevkit-${uid}`)
}

/** The directory of one mdev: its socket, its lock, and what its driver puts there. */
export function mdevDirectory(root: string, uuid: string): string {
  return join(root, 'devices', uuid)
}

/** The control socket of the host that runs a parent. */
export function hostSocket(root: string, parent: string): string {
  return join(root, 'hosts', `${parent}.sock`)
}

/** Group numbers that are taken, and what hosts know of groups that several of them have mdevs in. */
export function groupsDirectory(root: string): string {
  return join(root, 'groups')
}

/** What hosts know of one group that is named by a UUID. */
export function groupDirectory(root: string, uuid: string): string {
  return join(groupsDirectory(root), uuid)
}

/** Where a parent is told of the use of groups that its mdevs have joined. */
export function groupSocket(root: string, parent: string): string {
  return join(groupsDirectory(root), `${parent}.sock`)
}

/** What the host of a parent holds as long as it lives, from before it loads its driver. */
export function hostLock(root: string, parent: string): string {
  return join(root, 'hosts', `${parent}.lock`)
}

/** What a host that the daemon has started says. */
export function hostLog(root: string, parent: string): string {
  return join(root, 'hosts', `${parent}.log`)
}

/** Parents that an administrator has unregistered, and that get no host again by themselves. */
export function unregisteredDirectory(root: string): string {
  return join(root, 'unregistered')
}

/** The vfio-user socket in an mdev's directory. */
export function mdevSocket(directory: string): string {
  return join(directory, 'cntrl')
}

/**
 * Makes the root, private to this user.
 *
 * @throws EACCES, EROFS · EEXIST, ENOTDIR a file is in the way · EPERM it is there and belongs to somebody else, or
 *         others may write to it
 */
export function prepareRoot(root: string): void {
  makeDirectory(root, 0o700)
  const uid = ourUid()
  const stat = lstatSync(root)
  // Below /tmp anybody could have made it first, to look at what comes.
  if (!stat.isDirectory() || (stat.uid !== uid && uid !== 0 && !isShared(root))) {
    throw new ErrnoError('EPERM', `run-time root ${root}: not a directory of ours`)
  }
  if ((stat.mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new ErrnoError('EPERM', `run-time root ${root}: others may write to it (chmod o-w)`)
  }
}

/**
 * Makes a directory and those above it. Not by mkdir's `recursive`, which loops for ever where a directory exists and
 * nothing can be made in it: below /proc (Node 20 to 24).
 */
export function makeDirectory(path: string, mode: number): void {
  const parent = dirname(path)
  if (!existsSync(parent)) makeDirectory(parent, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    if (!existsSync(path) || !statSync(path).isDirectory()) throw error
  }
}

/** Below a root's root: what hosts make files in. */
const SHARED = ['hosts', 'devices', 'groups']
/** Whoever is in the group makes files there, and nobody removes another's. */
const STICKY_FOR_GROUP = 0o1770

/** Lets hosts that run as other users, all of one group, use a root that is root's. */
export function shareRoot(root: string, gid: number): void {
  chmodSync(root, statSync(root).mode | PASSABLE)
  for (const name of SHARED) {
    const directory = join(root, name)
    makeDirectory(directory, 0o700)
    chownSync(directory, 0, gid)
    chmodSync(directory, STICKY_FOR_GROUP)
  }
}

/** Whether it is root's, who has let our group in. */
function isShared(root: string): boolean {
  if (lstatSync(root).uid !== 0) return false
  return SHARED.every((name) => {
    const stat = lstatSync(join(root, name), { throwIfNoEntry: false })
    const open = stat?.isDirectory() === true && stat.uid === 0
    return open && (stat.mode & 0o7777) === STICKY_FOR_GROUP
  })
}

const PASSABLE = 0o011
const WRITABLE_BY_OTHERS = 0o002

/** Not `userInfo()`, which throws where the user has no entry in the passwd file, as in many containers. */
function ourUid(): number {
  return process.geteuid?.() ?? -1
}
