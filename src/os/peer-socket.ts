/**
 * A UNIX stream socket where one program at a time may be: it comes by connecting, and goes by closing.
 *
 * What a program wrote before it closed stays in its socket until it is read, even when the next has come meanwhile.
 */
import { lstatSync, unlinkSync } from 'node:fs'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd } from './fd.ts'
import { receiveInto, sendBytes, WOULD_BLOCK } from './message.ts'
import type { Peer, PeerEvents } from './peer.ts'
import { EPOLL_ENDED, EPOLLET, EPOLLIN, EPOLLOUT, reactor, type Watch } from './reactor.ts'
import { UnixListener } from './unix-listener.ts'
import { isAnswered } from './unix-socket.ts'

/** Most programs whose last words wait to be read. */
const MAX_UNREAD = 8

interface Connection {
  readonly fd: number
  readonly watch: Watch
  /** It has closed: when it is read to its end, it is done with. */
  gone: boolean
}

/**
 * Listens at `path`; its file is for this user only. A socket file that a dead process left there is replaced.
 *
 * @throws EADDRINUSE somebody listens there, or it is no socket · ENAMETOOLONG, ENOENT, EACCES
 */
export function listenForPeer(path: string, events: PeerEvents = {}): Peer {
  return new PeerSocket(path, events)
}

class PeerSocket implements Peer {
  readonly path: string
  readonly #events: PeerEvents
  readonly #listener: UnixListener
  /** In the order they came: input is read from the first, output goes to the one that is there. */
  readonly #connections: Connection[] = []
  #current: Connection | undefined
  #open = true
  #readable = false // told so, and not yet read to the end
  #full = false

  constructor(path: string, events: PeerEvents) {
    this.path = path
    this.#events = events
    this.#listener = listen(path, (fd) => this.#accept(fd))
  }

  get present(): boolean {
    return this.#current !== undefined
  }

  read(into: Uint8Array): number {
    if (into.length === 0) return 0
    for (let first = this.#connections[0]; first !== undefined; first = this.#connections[0]) {
      const count = receive(first.fd, into)
      if (count > 0) return count
      if (count === WOULD_BLOCK || !first.gone) break // at its end but not gone: it only ended its sending
      this.#connections.shift()
      end(first)
    }
    this.#readable = false
    return 0
  }

  write(bytes: Uint8Array): number {
    if (this.#current === undefined || bytes.length === 0) return bytes.length
    const count = send(this.#current.fd, bytes)
    this.#full = count < bytes.length
    return count
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#current = undefined
    this.#listener.close()
    for (const connection of this.#connections.splice(0)) end(connection)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #accept(fd: number): void {
    if (this.#current !== undefined || this.#connections.length >= MAX_UNREAD) {
      closeFd(fd)
      return
    }
    const interest = EPOLLIN | EPOLLOUT | EPOLLET
    const connection: Connection = {
      fd,
      watch: reactor().watch(fd, interest, (ready) => this.#look(connection, ready)),
      gone: false,
    }
    this.#connections.push(connection)
    this.#current = connection
    this.#full = false
    this.#events.onPresence?.(true)
  }

  #look(connection: Connection, ready: number): void {
    connection.gone ||= (ready & EPOLL_ENDED) !== 0
    if (ready & (EPOLLIN | EPOLL_ENDED) && !this.#readable) {
      this.#readable = true
      this.#events.onReadable?.()
    }
    if (connection !== this.#current) return
    if (connection.gone) {
      this.#current = undefined
      this.#events.onPresence?.(false)
    } else if (this.#full && ready & EPOLLOUT) {
      this.#full = false
      this.#events.onWritable?.()
    }
  }
}

function listen(path: string, onConnection: (fd: number) => void): UnixListener {
  try {
    return new UnixListener(path, reactor(), onConnection)
  } catch (error) {
    if (!(error instanceof ErrnoError && error.code === 'EADDRINUSE')) throw error
    const isSocket = lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true
    if (!isSocket || isAnswered(path)) throw error
    unlinkSync(path)
    return new UnixListener(path, reactor(), onConnection)
  }
}

/** @returns 0 at the end of what the program wrote, however it went */
function receive(fd: number, into: Uint8Array): number {
  try {
    return receiveInto(fd, into)
  } catch {
    return 0 // ECONNRESET: it closed with output of ours unread
  }
}

/** @returns bytes taken; a program that has just gone takes all, until its going is told */
function send(fd: number, bytes: Uint8Array): number {
  try {
    return Math.max(0, sendBytes(fd, bytes))
  } catch {
    return bytes.length
  }
}

function end({ watch, fd }: Connection): void {
  watch.close()
  closeFd(fd)
}
