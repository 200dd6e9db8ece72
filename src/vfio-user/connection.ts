/** The server's end of one connection: receives, runs commands, replies in order, and cleans up after the client. */
import * as wire from '../abi/vfio-user.ts'
import type { Device } from '../device/device.ts'
import { Container, type ContainerOptions } from '../iommu/container.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { describeError, ErrnoError, errnoOf } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { closeFd } from '../os/fd.ts'
import type { Inbox, Outbox } from '../os/message.ts'
import { EPOLLIN, EPOLLOUT, type Reactor, type Watch } from '../os/reactor.ts'
import { hasHungUp } from '../os/socket-ends.ts'
import { socketPair } from '../os/unix-socket.ts'
import type { Command } from './command.ts'
import { ClientIrqs } from './client-irqs.ts'
import { ClientRequests } from './client-requests.ts'
import { COMMANDS } from './commands.ts'
import { encodeMessage, FAILURE, FrameReader, type Header, type Message, SUCCESS } from './frame.ts'
import { ClientIoFds } from './io-fds.ts'
import { MessageSocket } from './message-socket.ts'
import { checkLetThrough } from './migration.ts'
import { ReplyQueue } from './reply-queue.ts'
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
  /** The machine's unless given. */
  readonly clock?: Pick<Clock, 'after'>
  /** What the client may ask; the protocol's commands unless given. */
  readonly commands?: ReadonlyMap<number, Command>
  /** How the client's memory may be used. */
  readonly dma?: Pick<ContainerOptions, 'mapUnsealed' | 'payers'>
  /** Called once, when it has ended and its resources are free. */
  readonly onClose: () => void
  /** Called after that, when its fd is closed too. */
  readonly onClosed?: () => void
}

export class Connection implements ServedClient {
  readonly container: Container
  readonly stats: ServerStats
  readonly clock: Pick<Clock, 'after'>
  capabilities: Capabilities | undefined
  readonly #options: ConnectionOptions
  readonly #commands: ReadonlyMap<number, Command>
  readonly #reader: FrameReader
  readonly #replies: ReplyQueue
  #device: Device | undefined
  #irqs: ClientIrqs | undefined
  #ioFds: ClientIoFds | undefined
  #watch: Watch | undefined
  readonly #share = new Share()
  /** A command takes its time: nothing is received until it has settled. */
  #waiting = false
  #closing = false
  #closed = false
  /** Where our own requests go, if the client has asked for that. */
  #twin: MessageSocket | undefined
  /** Those that go the same way as replies, to be sent after the replies of this turn. */
  #outgoing: Uint8Array[] = []
  #serving = false
  #advised = false
  readonly #requests: ClientRequests

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#commands = options.commands ?? COMMANDS
    this.stats = options.stats
    this.clock = options.clock ?? systemClock
    this.#replies = new ReplyQueue(options.fd, options.buffers.outbox, () => this.#updateInterest())
    this.#requests = new ClientRequests({
      send: (request, payload) => this.#sendRequest(request, payload),
      maxTransfer: () =>
        Math.min(this.capabilities?.max_data_xfer_size ?? 0, OUR_CAPABILITIES.max_data_xfer_size),
    })
    this.container = new Container({
      maxMaps: OUR_CAPABILITIES.max_dma_maps,
      remote: this.#requests,
      log: options.log,
      ...options.dma,
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
    if (this.#closed) return
    closeFd(this.giveUp())
    this.#options.onClosed?.()
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
    this.#replies.clear()
    this.#outgoing = []
    this.#requests.close()
    this.#twin?.close()
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
    if (this.#watch === undefined) return this.close() // it has not been served yet
    while (this.#onReady(EPOLLIN | EPOLLOUT) !== false)
      if (this.#closed || this.#replies.isBlocked) return
  }

  adviseSharedMemory(): void {
    if (this.#advised) return
    this.#advised = true
    this.#options.log.warn(
      'guest memory came without a file: the device reaches it by messages, which is slow. ' +
        'Share it: qemu -object memory-backend-memfd,id=mem,size=…,share=on -machine …,memory-backend=mem',
    )
  }

  get reply(): DataView {
    return this.#replies.view
  }

  get replyBytes(): Uint8Array {
    return this.#replies.bytes
  }

  get replyAt(): number {
    return this.#replies.at
  }

  attachFds(fds: readonly number[]): void {
    this.#replies.attachFds(fds)
  }

  reserveReply(size: number): void {
    this.#replies.reserve(size)
  }

  replyRoom(size: number): Uint8Array {
    return this.#replies.room(size)
  }

  openTwin(): void {
    const { reactor, buffers } = this.#options
    const [fd, theirs] = socketPair()
    try {
      this.#twin = new MessageSocket({
        fd,
        reactor,
        inbox: buffers.inbox,
        maxSize: MAX_MESSAGE,
        onMessage: (message) => this.#handleOnTwin(message),
        onEnd: (error) => this.#loseTwin(error),
      })
    } catch (error) {
      closeFd(theirs)
      throw error
    }
    this.#replies.giveFd(theirs)
  }

  /** @returns whether anything was there, or that more of it is to be done when others have had their turn */
  #onReady(events: number): boolean | 'more' {
    this.#serving = true
    try {
      if ((events & EPOLLOUT) !== 0 && this.#replies.isBlocked) this.#resumeReplies()
      const found = this.#waiting ? this.#checkPeer() : this.#serveNext()
      this.#serving = false
      this.#sendOutgoing()
      return this.#isInterrupted() ? 'more' : found
    } catch (error) {
      this.#serving = false
      // Nothing that a client does gets further than its own connection.
      this.#options.log.debug(`closing: ${describeError(error)}`)
      this.#flushQuietly() // what it asked before it broke the framing is answered
      this.close()
      return true
    }
  }

  /** Whether messages wait for nothing but the client's next share. */
  #isInterrupted(): boolean {
    const waitsForElse = this.#waiting || this.#replies.isBlocked
    return this.#share.isUsedUp && this.#reader.stopped && !waitsForElse && !this.#closed
  }

  #serveNext(): boolean {
    return this.#replies.isBlocked || this.#serve()
  }

  #checkPeer(): boolean {
    this.#replies.checkPeer()
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
    this.#replies.flush()
    if (times !== undefined && this.#accesses > accesses) {
      times.add(performance.now() - began, this.#accesses - accesses)
    }
    if (this.#closing && !this.#replies.isBlocked) this.close()
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
      // One to nothing that we asked here is dropped.
      if (this.#twin === undefined) this.#requests.settle(message)
      return this.#share.use(message.length)
    }
    const payload = this.#run(message, type)
    if (typeof payload !== 'number') {
      this.#waitFor(message, payload)
      return false
    }
    if (this.#closed) return false // by what the command led to: the mdev was removed
    if ((message.flags & wire.VFIO_USER_F_NO_REPLY) === 0) this.#replies.finish(message, payload)
    else this.#replies.forget()
    const mayGoOn = this.#share.use(message.length + Math.max(0, payload))
    return mayGoOn && !this.#replies.isBlocked && !this.#closing
  }

  /** Takes nothing more from this client, whose commands are run in order, until this one has settled. */
  #waitFor({ id, command, flags }: Message, payload: Promise<Uint8Array>): void {
    const wantsReply = (flags & wire.VFIO_USER_F_NO_REPLY) === 0
    const settle = (reply: Uint8Array) => {
      if (this.#closed) return // there is nobody to tell
      this.#waiting = false
      this.#updateInterest()
      if (wantsReply) this.#replies.add(reply)
      if (this.#onReady(EPOLLOUT) === 'more') this.#watch?.again()
    }
    this.#waiting = true
    this.#updateInterest()
    this.#replies.forget()
    payload.then(
      (bytes) => settle(encodeMessage({ id, command, flags: SUCCESS }, bytes)),
      (thrown: unknown) => {
        const error = this.#refusal(command, thrown)
        settle(encodeMessage({ id, command, flags: FAILURE, error }))
      },
    )
  }

  /** @returns bytes of the reply's payload, or the negative errno of a refusal; a promise from a command that waits */
  #run(message: Message, type: number): number | Promise<Uint8Array> {
    const command = this.#commands.get(message.command)
    const name = command?.name ?? `command ${message.command}`
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
      this.#replies.reserve(SMALL_REPLY)
      return command.run(this, message)
    } catch (error) {
      this.#closing = this.capabilities === undefined // without a VERSION that fits there is nothing to go on with
      return -this.#refusal(message.command, error)
    }
  }

  #nameOf(command: number): string {
    return this.#commands.get(command)?.name ?? `command ${command}`
  }

  /** The errno that a thrown error becomes on the wire. */
  #refusal(command: number, error: unknown): number {
    this.stats.refused++
    if (!(error instanceof ErrnoError) && !(error instanceof Error && 'syscall' in error)) {
      this.#options.log.error(`${this.#nameOf(command)}: replying EIO`, error) // a bug of ours or of the driver: keep the stack
    } else {
      this.#options.log.debug(error.message)
    }
    const errno = errnoOf(error)
    return errno === EOVERFLOW ? EINVAL : errno // a u64 beyond 2^53 lies beyond every region and map
  }

  /** A driver may ask for guest memory at any moment, in a turn of ours or not. */
  #sendRequest(request: Header, payload: Uint8Array): void {
    try {
      if (this.#twin !== undefined) {
        this.#twin.send(request, payload)
        return
      }
      this.#outgoing.push(encodeMessage(request, payload))
      if (!this.#serving) this.#sendOutgoing()
    } catch {
      setImmediate(() => this.close()) // the client has gone, which is not the driver's to hear of in the midst of its call
    }
  }

  #sendOutgoing(): void {
    while (!this.#replies.isBlocked && !this.#closed) {
      const message = this.#outgoing.shift()
      if (message === undefined) return
      this.#replies.send(message)
    }
  }

  /** What comes on the twin: answers to our requests, and nothing else. */
  #handleOnTwin(message: Message): void {
    const { id, command, flags } = message
    if ((flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY) {
      this.#requests.settle(message)
      return
    }
    const error = this.#refusal(
      command,
      new ErrnoError(
        'EINVAL',
        `${this.#nameOf(command)}: on the twin socket, which is for replies`,
      ),
    )
    if ((flags & wire.VFIO_USER_F_NO_REPLY) === 0)
      this.#twin?.send({ id, command, flags: FAILURE, error }, NOTHING)
  }

  /** Losing either socket ends the connection. A client that has closed both has all of it done that it sent before. */
  #loseTwin(error: unknown): void {
    const why = error === undefined ? 'closed by the client' : describeError(error)
    this.#options.log.debug(`closing: twin socket: ${why}`)
    this.poll()
    this.close()
  }

  #flushQuietly(): void {
    try {
      this.#replies.flush()
    } catch {
      // the client has gone
    }
  }

  /** What the socket is watched for; that the client has gone is noticed at any time. */
  #updateInterest(): void {
    if (this.#watch === undefined) return
    const idle = this.#waiting ? 0 : EPOLLIN
    this.#watch.interest = this.#replies.isBlocked ? EPOLLOUT : idle
  }

  #resumeReplies(): void {
    if (this.#replies.resume() && this.#closing) this.close()
    else this.#updateInterest()
  }
}

const NOTHING = new Uint8Array(0)
const EINVAL = 22
const EOVERFLOW = 75
