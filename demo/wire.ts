/** The host end of a port: a terminal, opened as any terminal program would, without blocking. */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { EPOLLIN, EPOLLOUT, reactor } from '../src/os/reactor.ts'

export interface Wire {
  write(bytes: Uint8Array): void
  close(): void
}

/** @param onBytes told what comes; the bytes are its own */
export type OpenWire = (path: string, onBytes: (bytes: Buffer) => void) => Wire

/**
 * Opens the terminal of a port. It is raw already.
 *
 * Not `tty.ReadStream` and its kind: their writes block, and would wait for a host that is this very process.
 */
export const openTerminal: OpenWire = (path, onBytes) => {
  const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants
  const fd = openSync(path, O_RDWR | O_NOCTTY | O_NONBLOCK)
  const chunk = Buffer.alloc(4096)
  let unsent = Buffer.alloc(0)
  const flush = () => {
    unsent = unsent.subarray(unlessBusy(() => writeSync(fd, unsent)))
    watch.interest = unsent.length > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN
  }
  const watch = reactor().watch(fd, EPOLLIN, (events) => {
    if (events & EPOLLOUT) flush()
    const count = unlessBusy(() => readSync(fd, chunk))
    if (count > 0) onBytes(Buffer.from(chunk.subarray(0, count)))
  })
  return {
    write(bytes) {
      unsent = Buffer.concat([unsent, bytes])
      flush()
    },
    close() {
      watch.close()
      closeSync(fd)
    },
  }
}

/** How many bytes were moved: none where it would block. EIO: the other end has hung up. */
function unlessBusy(move: () => number): number {
  try {
    return move()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EAGAIN' || code === 'EIO') return 0
    throw error
  }
}
