/** The server's end of one connection: receives, runs commands, replies in order, and cleans up after the client. */
import * as wire from '../abi/vfio-user.ts'
import type { Device } from '../device/device.ts'
import { Container } from '../iommu/container.ts'
import { ErrnoError, errnoOf } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { closeFd } from '../os/fd.ts'
import { type Inbox, type Outbox, sendBytes } from '../os/message.ts'
import { EPOLLIN, EPOLLOUT, type Reactor, type Watch } from '../os/reactor.ts'
import { hasHungUp } from '../os/socket-ends.ts'
import { Backlog } from './backlog.ts'
import type { Command } from './command.ts'
import { ClientIrqs } from './client-irqs.ts'
import { ClientRequests } from './client-requests.ts'
import { COMMANDS } from './commands.ts'
import { encodeRefusal, encodeReply, FrameReader, type Message } from './frame.ts'
import { ClientIoFds } from './io-fds.ts'
import { checkLetThrough } from './migration.ts'
import type { ServedClient, ServerStats } from './served-client.ts'
import { Share } from './share.ts'
import { type AccessTimes } from './access-times.ts'
import { type Capabilities, OUR_CAPABILITIES } from './version.ts'

const HEADER = wire.VfioUserHeader.size
/** The largest fixed part of any message, and what comes before it. */
const OVERHEAD = HEADER + 64
/** Largest message either way. */
export const MAX_MESSAGE = OVERHEAD + OUR_CAPABILITIES.max_data_xfer_size
/** Room that a reply has without asking for more: any fixed layout, and VERSION's. */
const SMALL_REPLY = 512
/** The outbox is sent when it holds this much, even if more requests wait. */
export const OUTBOX_CAPACITY = 64 * 1024 + MAX_MESSAGE

/** What the connections of one process share; each uses it only within one turn. */
export interface SharedBuffers {
  readonly inbox: Inbox
  readonly outbox: Outbox
}

export interface ConnectionOptions {
  /** Owned by the connection. */
  readonly fd: number
  readonly reactor: Reactor
  readonly buffers: SharedBuffers
  readonly log: Logger
  readonly stats: ServerStats
  readonly accessTimes?: AccessTimes
  /** What the client may ask; the protocol's commands unless given. */
  readonly commands?: ReadonlyMap<number, Command>
  /** Called once, when it has ended and its resources are free. */
  readonly onClose: () => void
}

export class Connection implements ServedClient {
  readonly container: Container
  readonly stats: ServerStats
  readonly reply: DataView
  readonly replyBytes: Uint8Array
  capabilities: Capabilities | undefined
  replyAt = HEADER
  readonly #options: ConnectionOptions
  readonly #commands: ReadonlyMap<number, Command>
  readonly #reader: FrameReader
  readonly #replyHeader = wire.VfioUserHeader.view()
  #device: Device | undefined
  #irqs: ClientIrqs | undefined
  #ioFds: ClientIoFds | undefined
  #watch: Watch | undefined
  /** Bytes of finished replies in the outbox, not sent yet. */
  #queued = 0
  /** The reply at hand where it is too large for the outbox, header included. */
  #largeReply: Uint8Array | undefined
  /** Sent with the reply at hand. */
  #replyFds = NO_FDS
  /** What the socket did not take: nothing is received while there is any. */
  readonly #backlog = new Backlog()
  readonly #share = new Share()
  /** A command takes its time: nothing is received until it has settled. */
  #waiting = false
  #closing = false
  #closed = false
  /** Our own requests, to be sent after the replies of this turn. */
  #outgoing: Uint8Array[] = []
  #serving = false
  #advised = false
  readonly #requests: ClientRequests

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#commands = options.commands ?? COMMANDS
    this.stats = options.stats
    this.reply = options.buffers.outbox.view
    this.replyBytes = options.buffers.outbox.bytes
    this.#requests = new ClientRequests({
      send: (message) => this.#sendRequest(message),
      maxTransfer: () =>
        Math.min(this.capabilities?.max_data_xfer_size ?? 0, OUR_CAPABILITIES.max_data_xfer_size),
    })
    this.container = new Container({
      maxMaps: OUR_CAPABILITIES.max_dma_maps,
      remote: this.#requests,
    })
    this.#reader = new FrameReader(options.buffers.inbox, MAX_MESSAGE, (message) =>
      this.#handle(message),
    )
  }

  get device(): Device {
    if (this.#device === undefined) throw new ErrnoError('ENODEV', 'connection: serves no device')
    return this.#device
  }

  get irqs(): ClientIrqs {
    if (this.#irqs === undefined) throw new ErrnoError('ENODEV', 'connection: serves no device')
    return this.#irqs
  }

  get ioFds(): ClientIoFds {
    if (this.#ioFds === undefined) throw new ErrnoError('ENODEV', 'connection: serves no device')
    return this.#ioFds
  }

  /** Starts to serve `device`. @throws ENODEV it has ended already · ENOSPC, ENOMEM from epoll_ctl */
  start(device: Device): void {
    if (this.#closed) throw new ErrnoError('ENODEV', 'connection: ended before it began')
    this.#device = device
    this.#irqs = new ClientIrqs(device, this.#options.reactor)
    this.#ioFds = new ClientIoFds(device, this.#options.reactor, this.#options.log)
    this.#watch = this.#options.reactor.watch(this.#options.fd, EPOLLIN, (events) =>
      this.#onReady(events),
    )
  }

  /** Ends the connection and frees all that the client gave. Idempotent. */
  close(): void {
    if (!this.#closed) closeFd(this.giveUp())
  }

  /** Ends the service, but not the connection. @returns its fd, owned by the caller from now on */
  giveUp(): number {
    this.#closed = true
    this.#watch?.close()
    this.#release()
    return this.#options.fd
  }

  #release(): void {
    this.#reader.close()
    this.#queued = 0
    this.#backlog.clear()
    this.#outgoing = []
    this.#requests.close()
    this.#ioFds?.close()
    try {
      this.#options.onClose() // the device stops using memory before it goes
    } finally {
      this.#irqs?.close()
      this.container.close()
    }
  }

  /** Looks whether the client has gone, which may not have been noticed yet; what it has sent before is done first. */
  poll(): void {
    if (this.#closed || !hasHungUp(this.#options.fd)) return
    while (this.#onReady(EPOLLIN | EPOLLOUT) !== false)
      if (this.#closed || !this.#backlog.isEmpty) return
  }

  adviseSharedMemory(): void {
    if (this.#advised) return
    this.#advised = true
    this.#options.log.warn(
      'guest memory came without a file: the device reaches it by messages, which is slow. ' +
        'Share it: qemu -object memory-backend-memfd,id=mem,size=…,share=on -machine …,memory-backend=mem',
    )
  }

  attachFds(fds: readonly number[]): void {
    this.#flush() // they go with the first byte of a send
    this.#replyFds = fds
  }

  reserveReply(size: number): void {
    if (this.replyAt + size > this.replyBytes.length) this.#flush()
  }

  replyRoom(size: number): Uint8Array {
    if (HEADER + size > this.replyBytes.length) {
      this.#largeReply = new Uint8Array(HEADER + size)
      return this.#largeReply.subarray(HEADER)
    }
    this.reserveReply(size)
    return this.replyBytes.subarray(this.replyAt, this.replyAt + size).fill(0)
  }

  /** @returns whether anything was there, or that more of it is to be done when others have had their turn */
  #onReady(events: number): boolean | 'more' {
    this.#serving = true
    try {
      if ((events & EPOLLOUT) !== 0) this.#sendBacklog()
      const found = this.#waiting ? this.#checkPresence() : this.#serveNext()
      this.#serving = false
      this.#sendOutgoing()
      return this.#isInterrupted() ? 'more' : found
    } catch (error) {
      this.#serving = false
      // Nothing that a client does gets further than its own connection.
      this.#options.log.debug(`closing: ${error instanceof Error ? error.message : String(error)}`)
      this.#flushQuietly() // what it asked before it broke the framing is answered
      this.close()
      return true
    }
  }

  /** Whether messages wait for nothing but the client's next share. */
  #isInterrupted(): boolean {
    const waitsForElse = this.#waiting || !this.#backlog.isEmpty
    return this.#share.isUsedUp && this.#reader.stopped && !waitsForElse && !this.#closed
  }

  #serveNext(): boolean {
    return !this.#backlog.isEmpty || this.#serve()
  }

  /** Ends the connection if the client has gone while it waited. @throws EPIPE */
  #checkPresence(): boolean {
    this.#options.buffers.outbox.send(this.#options.fd, 0) // sends nothing, and fails like any other send
    return false
  }

  #serve(): boolean {
    this.#share.renew()
    const times = this.#options.accessTimes
    const accesses = times === undefined ? 0 : this.#accesses
    const began = times === undefined ? 0 : performance.now()
    if (this.#reader.stopped) {
      this.#reader.resume()
    } else {
      const received = this.#reader.receive(this.#options.fd)
      if (received === 'nothing') return false
      if (received === 'end') {
        this.close()
        return true
      }
    }
    this.#flush()
    if (times !== undefined && this.#accesses > accesses) {
      times.add(performance.now() - began, this.#accesses - accesses)
    }
    if (this.#closing && this.#backlog.isEmpty) this.close()
    return true
  }

  get #accesses(): number {
    return this.stats.regionReads + this.stats.regionWrites
  }

  /** Runs one message. @returns whether the next may follow */
  #handle(message: Message): boolean {
    if (this.#closed || this.#closing) return false
    const type = message.flags & wire.VFIO_USER_F_TYPE_MASK
    if (type === wire.VFIO_USER_F_TYPE_REPLY) {
      this.#requests.settle(message) // one to nothing that we asked is dropped
      return this.#share.use(message.length)
    }
    const payload = this.#run(message, type)
    if (typeof payload !== 'number') {
      this.#waitFor(message, payload)
      return false
    }
    if (this.#closed) return false // by what the command led to: the mdev was removed
    if ((message.flags & wire.VFIO_USER_F_NO_REPLY) === 0) this.#finishReply(message, payload)
    else this.#forgetReply()
    const mayGoOn = this.#share.use(message.length + Math.max(0, payload))
    return mayGoOn && this.#backlog.isEmpty && !this.#closing
  }

  #forgetReply(): void {
    this.#replyFds = NO_FDS
    this.#largeReply = undefined
  }

  /** Takes nothing more from this client, whose commands are run in order, until this one has settled. */
  #waitFor({ id, command, flags }: Message, payload: Promise<Uint8Array>): void {
    const wantsReply = (flags & wire.VFIO_USER_F_NO_REPLY) === 0
    const settle = (reply: Uint8Array) => {
      if (this.#closed) return // there is nobody to tell
      this.#waiting = false
      if (wantsReply) this.#backlog.add(reply)
      this.#updateInterest()
      if (this.#onReady(EPOLLOUT) === 'more') this.#watch?.again()
    }
    this.#waiting = true
    this.#updateInterest()
    this.#forgetReply()
    payload.then(
      (bytes) => settle(encodeReply(id, command, bytes)),
      (error: unknown) => settle(encodeRefusal(id, command, this.#refusal(command, error))),
    )
  }

  /** @returns bytes of the reply's payload, or the negative errno of a refusal; a promise from a command that waits */
  #run(message: Message, type: number): number | Promise<Uint8Array> {
    const command = this.#commands.get(message.command)
    const name = command?.name ?? unknownName(message.command)
    try {
      if (type !== wire.VFIO_USER_F_TYPE_COMMAND)
        throw new ErrnoError('EINVAL', `${name}: message type ${type}`)
      if (this.capabilities === undefined && message.command !== wire.VFIO_USER_VERSION)
        throw new ErrnoError('EINVAL', `${name}: VERSION must come first`)
      if (command === undefined) throw new ErrnoError('EINVAL', `${name}: unknown`)
      if (message.length < command.minPayload) {
        throw new ErrnoError(
          'EINVAL',
          `${name}: payload of ${message.length} bytes, ${command.minPayload} are needed`,
        )
      }
      if (message.fds.length > command.maxFds) {
        throw new ErrnoError(
          'EINVAL',
          `${name}: ${message.fds.length} fds, ${command.maxFds} are the most`,
        )
      }
      const migration = this.#device?.migration
      if (migration !== undefined) checkLetThrough(migration, message)
      this.reserveReply(SMALL_REPLY)
      return command.run(this, message)
    } catch (error) {
      this.#closing = this.capabilities === undefined // without a VERSION that fits there is nothing to go on with
      return -this.#refusal(message.command, error)
    }
  }

  /** The errno that a thrown error becomes on the wire. */
  #refusal(command: number, error: unknown): number {
    this.stats.refused++
    if (!(error instanceof ErrnoError) && !(error instanceof Error && 'syscall' in error)) {
      this.#options.log.error(
        `${this.#commands.get(command)?.name ?? unknownName(command)}: replying EIO`,
        error,
      ) // a bug of ours or of the driver: keep the stack
    } else {
      this.#options.log.debug(error.message)
    }
    const errno = errnoOf(error)
    return errno === EOVERFLOW ? EINVAL : errno // a u64 beyond 2^53 lies beyond every region and map
  }

  #finishReply(message: Message, payload: number): void {
    const failed = payload < 0
    const large = this.#largeReply
    if (large !== undefined) {
      this.#largeReply = undefined
      if (!failed) {
        this.#sendLarge(message, large)
        return
      }
    }
    const size = HEADER + (failed ? 0 : payload)
    if (this.replyAt - HEADER + size > this.replyBytes.length) this.#flush()
    const header = this.#replyHeader.aim(this.reply, this.replyAt - HEADER)
    header.msg_id = message.id
    header.command = message.command
    header.size = size
    header.flags = wire.VFIO_USER_F_TYPE_REPLY | (failed ? wire.VFIO_USER_F_ERROR : 0)
    header.error = failed ? -payload : 0
    this.#queued += size
    this.replyAt = this.#queued + HEADER
    if (this.#replyFds === NO_FDS) return
    if (failed) this.#replyFds = NO_FDS
    this.#flush() // at once: the next reply must not go with these fds
    this.#replyFds = NO_FDS
  }

  #sendLarge({ id, command }: Message, reply: Uint8Array): void {
    const flags = wire.VFIO_USER_F_TYPE_REPLY
    reply.set(wire.VfioUserHeader.encode({ msg_id: id, command, size: reply.length, flags }))
    this.#flush()
    const sent = this.#backlog.isEmpty ? Math.max(0, sendBytes(this.#options.fd, reply)) : 0
    if (sent < reply.length) this.#keep(reply.subarray(sent))
  }

  /** Sends the replies in the outbox; what the socket does not take waits, and the client is not read meanwhile. */
  #flush(): void {
    const length = this.#queued
    if (length === 0) return
    this.#queued = 0
    this.replyAt = HEADER
    const fds = this.#replyFds
    if (!this.#backlog.isEmpty) {
      this.#backlog.add(this.replyBytes.slice(0, length), fds)
      return
    }
    const sent = Math.max(0, this.#options.buffers.outbox.send(this.#options.fd, length, fds))
    if (sent === length) return
    this.#keep(this.replyBytes.slice(sent, length), sent === 0 ? fds : NO_FDS)
  }

  /** A driver may ask for guest memory at any moment, in a turn of ours or not. */
  #sendRequest(message: Uint8Array): void {
    this.#outgoing.push(message)
    if (this.#serving) return
    try {
      this.#sendOutgoing()
    } catch {
      this.close() // the client has gone, which is not the driver's to hear of here
    }
  }

  #sendOutgoing(): void {
    while (this.#backlog.isEmpty && !this.#closed) {
      const message = this.#outgoing.shift()
      if (message === undefined) return
      const sent = Math.max(0, sendBytes(this.#options.fd, message))
      if (sent < message.length) this.#keep(message.subarray(sent))
    }
  }

  #flushQuietly(): void {
    try {
      this.#flush()
    } catch {
      // the client has gone
    }
  }

  /** The socket takes no more: nothing is received until it has taken this. */
  #keep(bytes: Uint8Array, fds: readonly number[] = NO_FDS): void {
    this.#backlog.add(bytes, fds)
    this.#updateInterest()
  }

  /** What the socket is watched for; that the client has gone is noticed at any time. */
  #updateInterest(): void {
    if (this.#watch === undefined) return
    const idle = this.#waiting ? 0 : EPOLLIN
    this.#watch.interest = this.#backlog.isEmpty ? idle : EPOLLOUT
  }

  #sendBacklog(): void {
    if (this.#backlog.isEmpty || !this.#backlog.send(this.#options.fd)) return
    if (this.#closing) this.close()
    else this.#updateInterest()
  }
}

function unknownName(command: number): string {
  return `command ${command}`
}

const NO_FDS: readonly number[] = []
const EINVAL = 22
const EOVERFLOW = 75
