/** The place of a mount: what a server that was killed has left there is taken away before. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { unmountByFusermount } from '../os/fusermount.ts'
import { detachMount, mountsAt } from '../os/mount.ts'

/** Most mounts that are taken away from one place: each start that found it so would have left one. */
const MAX_LEFT = 16
/** How long a living server may take for its answer to a stat. */
const PATIENCE_MS = 5000

/**
 * Makes `path` a directory where something can be mounted.
 *
 * @param type of our mounts, such as `fuse.mdevkit`: only what a dead server of this type has left is taken away
 * @returns the path without links and dots; the last name is a directory, made if need be
 * @throws EBUSY another server lives there, or hangs · EACCES, ENOTDIR no directory can be there
 */
export async function prepareMountPoint(path: string, type: string, log: Logger): Promise<string> {
  makeDirectories(dirname(path))
  // the last name is not looked into: what is mounted there might answer never
  const real = join(realpathSync(dirname(path)), basename(path))
  for (let i = 0; i < MAX_LEFT && mountsAt(real).at(-1)?.startsWith('fuse') === true; i++) {
    const state = mountsAt(real).at(-1) === type ? await stateOf(real) : 'alive'
    if (state !== 'dead') {
      const advice =
        state === 'alive'
          ? `umount ${real}, or choose another place`
          : `it hangs: umount --force --lazy ${real}`
      throw new ErrnoError('EBUSY', `mount at ${real}: a server is there already; ${advice}`)
    }
    await detach(real)
    log.info(`${real}: took away a mount whose server had died`)
  }
  makeDirectories(real)
  if (!statSync(real).isDirectory())
    throw new ErrnoError('ENOTDIR', `mount at ${real}: no directory`)
  return real
}

/** Not mkdir's own `recursive`, which on Node 20 never ends in a place like /proc. */
function makeDirectories(path: string): void {
  if (existsSync(path)) return
  makeDirectories(dirname(path))
  mkdirSync(path)
}

/** Takes the uppermost mount at `path` away, by the system call or else by fusermount3. */
export async function detach(path: string): Promise<void> {
  try {
    detachMount(path)
  } catch (error) {
    if (!(error instanceof ErrnoError) || error.code !== 'EPERM') throw error
    await unmountByFusermount(path)
  }
}

/** Asks by a process of its own, because who asks a server that hangs cannot even be killed. */
async function stateOf(path: string): Promise<'alive' | 'dead' | 'hung'> {
  const child = spawn('stat', ['--', path], {
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const { stderr } = child
  const answered = Promise.all([text(stderr), once(child, 'close')]).then(([said]) =>
    said.includes('Transport endpoint is not connected') ? ('dead' as const) : ('alive' as const),
  )
  const { promise: hung, stop } = after(PATIENCE_MS)
  try {
    return await Promise.race([answered, hung])
  } finally {
    stop()
    if (child.exitCode === null) {
      child.kill('SIGKILL')
      child.unref()
    }
  }
}

function after(ms: number): { promise: Promise<'hung'>; stop: () => void } {
  let timer: NodeJS.Timeout
  const promise = new Promise<'hung'>((resolve) => {
    timer = setTimeout(() => resolve('hung'), ms)
  })
  return { promise, stop: () => clearTimeout(timer) }
}
