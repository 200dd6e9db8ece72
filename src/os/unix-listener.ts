/** A place where connections arrive: listening, accepting one after the other, and the file's end. */
import { unlinkSync } from 'node:fs'
import { closeFd } from './fd.ts'
import { EPOLLIN, type Reactor, type Watch } from './reactor.ts'
import { acceptUnix, listenUnix } from './unix-socket.ts'

/** How long nobody is accepted after accepting has failed. */
const PAUSE_MS = 100

export class UnixListener {
  readonly #path: string
  readonly #fd: number
  readonly #watch: Watch
  #open = true

  /**
   * @param path         the socket's file, for this user only
   * @param onConnection gets the fd of each connection, and owns it
   * @param onError      is told when a connection could not be accepted; it waits, and is tried again
   * @throws EADDRINUSE, EACCES, ENAMETOOLONG, ENOENT: it cannot listen there
   */
  constructor(
    path: string,
    reactor: Reactor,
    onConnection: (fd: number) => void,
    onError: (error: unknown) => void = () => {},
  ) {
    this.#path = path
    this.#fd = listenUnix(path, 0o600)
    this.#watch = reactor.watch(this.#fd, EPOLLIN, () => {
      try {
        const fd = acceptUnix(this.#fd)
        if (fd !== undefined) onConnection(fd)
      } catch (error) {
        onError(error)
        // EMFILE and its kind last: without a pause the one who waits would be reported without end.
        this.#watch.interest = 0
        setTimeout(() => {
          this.#watch.interest = EPOLLIN
        }, PAUSE_MS).unref()
      }
    })
  }

  /** Stops listening and removes the file; connections live on. Idempotent. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#watch.close()
    closeFd(this.#fd)
    try {
      unlinkSync(this.#path)
    } catch {
      // somebody was faster
    }
  }
}
