/** Mdevs that are run in the foreground, past every daemon (`mdevkit run`): known by the locks of the process that bears them. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isHeldBy, lockHolder } from '../os/file-lock.ts'
import { LOCK } from './lock-files.ts'
import { hostSocket, mdevDirectory, mdevSocket } from './paths.ts'

export interface ForegroundMdev {
  readonly uuid: string
  readonly parent: string
  /** Of the process that bears it. */
  readonly pid: number
  /** Where its clients connect. */
  readonly socket: string
}

const SUFFIX = '.lock'

/**
 * By UUID. Nobody is asked: such a process has no control socket, and an mdev's own socket is for one client.
 *
 * @param root the run-time root; what may not be looked at there is passed over
 */
export function foregroundMdevs(root: string): readonly ForegroundMdev[] {
  const hosts = join(root, 'hosts')
  const parents = new Map<number, string>()
  for (const file of namesIn(hosts)) {
    const parent = file.slice(0, -SUFFIX.length)
    if (!file.endsWith(SUFFIX) || existsSync(hostSocket(root, parent))) continue
    const path = join(hosts, file)
    const pid = lockHolder(path)
    if (pid !== undefined && isHeldBy(path, pid)) parents.set(pid, parent)
  }
  if (parents.size === 0) return []
  return namesIn(join(root, 'devices'))
    .flatMap((uuid) => {
      const directory = mdevDirectory(root, uuid)
      const lock = join(directory, LOCK)
      const pid = lockHolder(lock)
      const parent = pid === undefined ? undefined : parents.get(pid)
      if (pid === undefined || parent === undefined || !isHeldBy(lock, pid)) return []
      return [{ uuid, parent, pid, socket: mdevSocket(directory) }]
    })
    .toSorted((a, b) => (a.uuid < b.uuid ? -1 : 1))
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // nothing has ever run there, or it is somebody else's
  }
}
