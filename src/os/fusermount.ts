/** Mounting by `fusermount3`, the set-user-id program that does it for ordinary users. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd, closeFds } from './fd.ts'
import { Inbox } from './message.ts'
import { socketPair } from './unix-socket.ts'

const PROGRAM = 'fusermount3'

/**
 * Mounts at `path` and returns the fd of /dev/fuse that the program sends through a socket.
 *
 * @param options as fusermount3 takes them: `fsname=…,subtype=…,default_permissions`
 * @throws ENOENT there is no fusermount3 · EPERM it refuses, and says why
 */
export async function mountByFusermount(path: string, options: string): Promise<number> {
  const [ours, theirs] = socketPair()
  try {
    const child = spawn(PROGRAM, ['-o', options, '--', path], {
      env: { ...process.env, LC_ALL: 'C', _FUSE_COMMFD: '3' },
      stdio: ['ignore', 'ignore', 'pipe', theirs],
    })
    const [said, status] = await Promise.all([text(child.stderr!), statusOf(child)])
    const fd = receiveFd(ours)
    if (fd !== undefined && status === '0') return fd
    if (fd !== undefined) closeFd(fd)
    const why = said.trim() === '' ? `ended with ${status}` : said.trim()
    throw new ErrnoError('EPERM', `mount at ${path}: ${why}`)
  } finally {
    closeFds([ours, theirs])
  }
}

/** Takes the mount at `path` out of the tree, even if its server is dead. @throws EPERM it refuses, and says why */
export async function unmountByFusermount(path: string): Promise<void> {
  const child = spawn(PROGRAM, ['-u', '-z', '--', path], {
    env: { ...process.env, LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const [said, status] = await Promise.all([text(child.stderr), statusOf(child)])
  if (status !== '0') throw new ErrnoError('EPERM', `umount ${path}: ${said.trim()}`)
}

/** The same, at once, for a process that ends; its fd of /dev/fuse must be closed before. */
export function unmountByFusermountAtExit(path: string): void {
  execFileSync(PROGRAM, ['-u', '-z', '--', path], { stdio: 'ignore' })
}

async function statusOf(child: ReturnType<typeof spawn>): Promise<string> {
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    return signal ?? String(code)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new ErrnoError('ENOENT', `no ${PROGRAM} in PATH: install fuse3`, { cause: error })
  }
}

/** The program has ended, so what it sent is there. */
function receiveFd(socket: number): number | undefined {
  const inbox = new Inbox(1)
  inbox.receive(socket, 0, 1)
  const [fd, ...others] = inbox.fds.splice(0)
  closeFds(others)
  return fd
}
