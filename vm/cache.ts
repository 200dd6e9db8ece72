/** The cache directory, and the one lock under which it is filled. */
import { createHash } from 'node:crypto'
import { type Server, type Socket, connect, createServer } from 'node:net'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'

/** Where prepared things are kept: `$MDEVKIT_CACHE`, else `mdevkit` in the user's cache directory. */
export function cacheDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment['MDEVKIT_CACHE']
  if (own) return resolve(own)
  const xdg = environment['XDG_CACHE_HOME']
  // the XDG specification: a relative path is invalid and to be ignored
  const base = xdg && isAbsolute(xdg) ? xdg : join(homedir(), '.cache')
  return join(base, 'mdevkit')
}

/**
 * Runs `work` while no other process runs anything for the same directory.
 *
 * The lock is an abstract UNIX socket: the kernel takes it back when its holder ends in whatever way, and who waits
 * keeps a connection that closes at that moment.
 */
export async function locked<T>(
  directory: string,
  work: () => Promise<T>,
  options: { onWait?: () => void; signal?: AbortSignal | undefined } = {},
): Promise<T> {
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 32)
  const name = `\0mdevkit-${process.getuid?.() ?? 0}-${hash}`
  const waiting = new Set<Socket>()
  let server: Server | undefined
  while ((server = await listen(name, waiting)) === undefined) {
    options.onWait?.()
    await released(name, options.signal)
    options.signal?.throwIfAborted()
  }
  try {
    return await work()
  } finally {
    server.close()
    for (const socket of waiting) socket.destroy()
  }
}

async function listen(name: string, waiting: Set<Socket>): Promise<Server | undefined> {
  const server = createServer((socket) => {
    waiting.add(socket)
    socket.on('error', () => {}) // who waited went away
    socket.on('close', () => waiting.delete(socket))
    socket.resume()
  })
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    )
    server.listen(name, () => resolve(server))
  })
}

/** Resolves when the lock may be free: its holder hung up, or was gone before we could connect; or when aborted. */
async function released(name: string, signal: AbortSignal | undefined): Promise<void> {
  const socket = connect(name)
  const stop = () => void socket.destroy()
  signal?.addEventListener('abort', stop)
  if (signal?.aborted) stop()
  try {
    await new Promise<void>((resolve) => {
      socket.on('error', () => {})
      socket.on('close', () => resolve())
      socket.resume()
    })
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}
