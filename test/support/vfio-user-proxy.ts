/**
 * A vfio-user server that is wrong in one aspect: it stands between a client and a real server, and spoils what passes.
 *
 * Bytes from the client pass as they come, in the same pieces with the same fds; what the server says passes message by
 * message. The server is not told that a client wants a twin socket, which would pass by here.
 */
import { closeFd } from '../../src/os/fd.ts'
import { Inbox, Outbox, WOULD_BLOCK } from '../../src/os/message.ts'
import { EPOLLIN, EPOLLOUT, type Watch, reactor } from '../../src/os/reactor.ts'
import { endWriting } from '../../src/os/socket-ends.ts'
import { acceptUnix, connectUnix, listenUnix } from '../../src/os/unix-socket.ts'
import { duplicate } from './fds.ts'

/** What is spoilt; what is left out passes as it is. */
export interface Fault {
  /** Of one message of the client, or of a piece that is no whole messages. @returns what the server gets */
  readonly request?: (bytes: Buffer, link: Link) => Buffer
  /** Of one message of the server. @returns what the client gets: nothing, a message, several */
  readonly reply?: (message: Buffer, link: Link) => Buffer | Outgoing
  /** Of the messages that one read from the server gave. */
  readonly burst?: (messages: readonly Buffer[]) => readonly Buffer[]
  /** Keeps a copy of every fd that clients send until it is closed itself. */
  readonly keepsFds?: boolean
  /** Lets a second client wait until the first is gone. */
  readonly queues?: boolean
}

export interface Outgoing {
  readonly bytes: Buffer
  /** Stay the caller's. */
  readonly fds: readonly number[]
}

/** One client, as its faults see it. */
export interface Link {
  /** For faults to remember things in. */
  readonly notes: Map<string, number>
  /** Sends the client a message that the server knows nothing of. */
  answer(message: Buffer, fds?: readonly number[]): void
  /** Ends the proxy, as a server that crashes. */
  die(): void
}

export class Proxy implements Disposable {
  readonly path: string
  readonly #server: string
  readonly #fault: Fault
  readonly #listener: number
  readonly #watch: Watch
  readonly #links = new Set<ProxyLink>()
  readonly #kept: number[] = []
  #waiting: number[] = []
  #closed = false

  /** @param path where it listens · @param server the socket of the real one */
  constructor(path: string, server: string, fault: Fault) {
    this.path = path
    this.#server = server
    this.#fault = fault
    this.#listener = listenUnix(path, 0o600)
    this.#watch = reactor().watch(this.#listener, EPOLLIN, () => {
      const fd = acceptUnix(this.#listener)
      if (fd === undefined) return
      if (fault.queues === true && this.#links.size > 0) this.#waiting.push(fd)
      else this.#serve(fd)
    })
  }

  #serve(fd: number): void {
    const link = new ProxyLink({
      client: fd,
      server: connectUnix(this.#server),
      fault: this.#fault,
      kept: this.#kept,
      onEnd: () => {
        this.#links.delete(link)
        const next = this.#waiting.shift()
        if (next !== undefined) this.#serve(next)
      },
      die: () => this[Symbol.dispose](),
    })
    this.#links.add(link)
  }

  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    closeFd(this.#listener)
    for (const fd of this.#waiting.splice(0)) closeFd(fd)
    for (const link of this.#links) link.close()
    for (const fd of this.#kept.splice(0)) closeFd(fd)
  }
}

interface LinkOptions {
  readonly client: number
  readonly server: number
  readonly fault: Fault
  readonly kept: number[]
  readonly onEnd: () => void
  readonly die: () => void
}

class ProxyLink implements Link {
  readonly notes = new Map<string, number>()
  readonly #options: LinkOptions
  readonly #client: Stream
  readonly #server: Stream
  #received: Buffer = Buffer.alloc(0)

  constructor(options: LinkOptions) {
    this.#options = options
    this.#client = new Stream(options.client, (bytes, fds) => this.#fromClient(bytes, fds))
    this.#server = new Stream(options.server, (bytes, fds) => this.#fromServer(bytes, fds))
  }

  answer(message: Buffer, fds: readonly number[] = []): void {
    this.#client.send(message, fds.map(duplicate))
  }

  die(): void {
    this.#options.die()
  }

  close(): void {
    this.#client.close()
    this.#server.close()
    this.#options.onEnd()
  }

  #fromClient(bytes: Buffer | undefined, fds: number[]): void {
    if (bytes === undefined) {
      this.#server.end()
      return
    }
    const { fault, kept } = this.#options
    if (fault.keepsFds === true) kept.push(...fds.map(duplicate))
    const { request = (message) => message } = fault
    const messages = wholeMessages(bytes)
    for (const message of messages.slice(0, -1))
      this.#server.send(withoutTwin(request(message, this)), [])
    const last = messages.at(-1)
    if (last !== undefined) this.#server.send(withoutTwin(request(last, this)), fds) // what fds come with is last
  }

  #fromServer(bytes: Buffer | undefined, fds: number[]): void {
    for (const fd of fds) closeFd(fd) // ours sends none
    if (bytes === undefined) {
      this.#client.end()
      this.close()
      return
    }
    const { reply, burst = (messages) => messages } = this.#options.fault
    for (const message of burst(this.#messages(bytes))) {
      const passed = reply === undefined ? message : reply(message, this)
      if (Buffer.isBuffer(passed)) this.#client.send(passed, [])
      else this.#client.send(passed.bytes, passed.fds.map(duplicate))
    }
  }

  #messages(bytes: Buffer): Buffer[] {
    this.#received = Buffer.concat([this.#received, bytes])
    const messages: Buffer[] = []
    while (this.#received.length >= 16 && this.#received.readUInt32LE(4) <= this.#received.length) {
      const size = this.#received.readUInt32LE(4)
      messages.push(this.#received.subarray(0, size))
      this.#received = this.#received.subarray(size)
    }
    return messages
  }
}

/** The wish for a twin socket becomes a key that no server knows. */
function withoutTwin(bytes: Buffer): Buffer {
  const at = bytes.indexOf('"twin_socket"')
  if (at < 0) return bytes
  const changed = Buffer.from(bytes)
  changed.write('"twin-socket"', at)
  return changed
}

/** The messages that `bytes` consists of; `bytes` itself where it is no whole messages. */
function wholeMessages(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const size = at + 16 <= bytes.length ? bytes.readUInt32LE(at + 4) : 0
    if (size < 16 || at + size > bytes.length) return [bytes]
    messages.push(bytes.subarray(at, at + size))
    at += size
  }
  return messages
}

/** One socket: what comes is handed on, what is to go waits until it can. */
class Stream {
  readonly #fd: number
  readonly #inbox = new Inbox(64 * 1024)
  readonly #watch: Watch
  readonly #queue: { bytes: Buffer; readonly fds: readonly number[] }[] = []
  #ending = false
  #ended = false
  #closed = false

  /** @param onData gets bytes and the fds that came with them, or undefined at the end */
  constructor(fd: number, onData: (bytes: Buffer | undefined, fds: number[]) => void) {
    this.#fd = fd
    this.#watch = reactor().watch(fd, EPOLLIN, (events) => {
      if ((events & EPOLLOUT) !== 0) this.#flush()
      if (this.#closed || this.#ended) return
      const count = this.#receive()
      if (count === WOULD_BLOCK) return
      const bytes = count === 0 ? undefined : Buffer.from(this.#inbox.bytes.subarray(0, count))
      if (bytes === undefined) {
        this.#ended = true
        this.#watch.interest = this.#queue.length > 0 ? EPOLLOUT : 0
      }
      onData(bytes, this.#inbox.fds.splice(0))
    })
  }

  /** @param fds closed when they are sent */
  send(bytes: Buffer, fds: readonly number[]): void {
    if (this.#closed || bytes.length === 0) for (const fd of fds) closeFd(fd)
    else this.#queue.push({ bytes, fds })
    this.#flush()
  }

  /** Ends writing when all is sent. */
  end(): void {
    this.#ending = true
    this.#flush()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    closeFd(this.#fd)
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) closeFd(fd)
  }

  #receive(): number {
    try {
      return this.#inbox.receive(this.#fd, 0, this.#inbox.bytes.length)
    } catch {
      return 0 // ECONNRESET
    }
  }

  #flush(): void {
    if (this.#closed) return
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const sent = this.#sendNow(first.bytes, first.fds)
      if (sent === WOULD_BLOCK) {
        this.#watch.interest = this.#ended ? EPOLLOUT : EPOLLIN | EPOLLOUT
        return
      }
      for (const fd of first.fds) closeFd(fd)
      this.#queue.shift()
      if (sent < first.bytes.length) {
        this.#queue.unshift({ bytes: first.bytes.subarray(sent), fds: [] })
      }
    }
    this.#watch.interest = this.#ended ? 0 : EPOLLIN
    if (this.#ending) endWriting(this.#fd)
  }

  #sendNow(bytes: Buffer, fds: readonly number[]): number {
    const outbox = new Outbox(bytes.length)
    outbox.bytes.set(bytes)
    try {
      return outbox.send(this.#fd, bytes.length, fds)
    } catch {
      return bytes.length // nobody is there to read it
    }
  }
}
