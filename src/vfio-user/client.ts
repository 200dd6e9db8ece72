/// <reference lib="es2022.error" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The client's end of the protocol: drives a device from TypeScript, without a VM.
 *
 * One object is one connection. Requests may be sent without waiting for earlier ones; the server answers in order.
 */
import { fstatSync } from 'node:fs'
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError, errnoCode } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { closeFds } from '../os/fd.ts'
import { Inbox } from '../os/message.ts'
import { reactor, type Reactor } from '../os/reactor.ts'
import { connectUnix } from '../os/unix-socket.ts'
import { ClientInterrupts } from './client-interrupts.ts'
import type { ClientDoorbells } from './client-doorbells.ts'
import {
  ClientDirtyLog,
  ClientFeatures,
  ClientMigration,
  type FeatureAction,
  type FeatureOptions,
} from './client-features.ts'
import { broken } from './client-files.ts'
import { ClientMemories, type ClientMemory, type MapOptions } from './client-memory.ts'
import { REGION } from './client-indices.ts'
import { ClientRegion } from './client-region.ts'
import { ClientRegions, type MappedRegion, type RegionInfo } from './client-regions.ts'
import { FAILURE, type Message, SUCCESS } from './frame.ts'
import { MessageSocket } from './message-socket.ts'
import {
  type Capabilities,
  DEFAULT_CAPABILITIES,
  encodeCapabilities,
  MAX_BITMAP_SIZE,
  parseCapabilities,
  type TwinSocketCapability,
} from './version.ts'

const HEADER = wire.VfioUserHeader.size
const MAX_MESSAGE = HEADER + 64 + DEFAULT_CAPABILITIES.max_data_xfer_size

/** What we tell a server; it may send us so many fds in one message. */
const PROPOSAL: Capabilities = {
  ...DEFAULT_CAPABILITIES,
  max_msg_fds: 16,
  write_multiple: true,
  sparse_mmap_fds: true,
  migration: { pgsize: 4096, max_bitmap_size: MAX_BITMAP_SIZE },
}
/** Said besides, where it is wanted. */
const TWIN_SOCKET = { twin_socket: { supported: true } } as const

export { ErrnoError } from '../lib/errno.ts'
export { IRQ, REGION } from './client-indices.ts'
export type { ClientDoorbells } from './client-doorbells.ts'
export type {
  ClientDirtyLog,
  ClientMigration,
  DirtyLogOptions,
  FeatureAction,
  FeatureOptions,
} from './client-features.ts'
export type { ClientInterrupts } from './client-interrupts.ts'
export type { ClientMemory, MapOptions } from './client-memory.ts'
export type { ClientRegion } from './client-region.ts'
export type { ClientVector, WaitOptions } from './client-vector.ts'
export type { Capabilities } from './version.ts'
export type { MigrationState } from '../device/migration.ts'
export type { IovaRange } from '../iommu/dirty-log.ts'
export type { MappedArea, MappedRegion, RegionArea, RegionInfo } from './client-regions.ts'

export interface DeviceInfo {
  /** VFIO_DEVICE_FLAGS_*. */
  readonly flags: number
  readonly regionCount: number
  readonly irqCount: number
}

export interface IrqInfo {
  /** VFIO_IRQ_INFO_*. */
  readonly flags: number
  /** Vectors. */
  readonly count: number
}

/** What came back. */
export interface Reply {
  /** 0, or the positive errno of a refusal. */
  readonly errno: number
  readonly payload: Uint8Array
  /** Owned by who asked. */
  readonly fds: readonly number[]
}

export interface AttachOptions {
  readonly reactor?: Reactor
  /** Gives up a request that has no answer after so many ms; 5000 unless given, as QEMU does. */
  readonly timeoutMs?: number
  /**
   * Whether to ask the server for a socket of its own for what it asks of us, so that it need not wait with that until it has
   * answered. Asked for unless given; a server that has none goes on using the one there is.
   */
  readonly twinSocket?: boolean
}

interface Pending {
  readonly command: number
  readonly maxReplyFds: number
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

export class Client implements Disposable {
  readonly #reactor: Reactor
  readonly #timeoutMs: number
  readonly #wantsTwin: boolean
  readonly #inbox = new Inbox(64 * 1024)
  readonly #socket: MessageSocket
  /** Where the server sends what it asks of us, if it has opened one. */
  #twin: MessageSocket | undefined
  readonly #pending = new Map<number, Pending>()
  readonly #memories = new ClientMemories(this)
  readonly #regions = new ClientRegions(this)
  readonly #features = new ClientFeatures(this)
  /** The device's state, and how it moves to another device. */
  readonly migration = new ClientMigration(this, this.#features)
  /** Which pages of memory the device writes. */
  readonly dirtyLog = new ClientDirtyLog(this.#features)
  readonly #interrupts = new Set<ClientInterrupts>()
  #nextId = 0
  #capabilities: Capabilities = DEFAULT_CAPABILITIES
  #ended: ErrnoError | undefined

  private constructor(fd: number, options: AttachOptions) {
    this.#reactor = options.reactor ?? reactor()
    this.#timeoutMs = options.timeoutMs ?? 5000
    this.#wantsTwin = options.twinSocket ?? true
    this.#socket = this.#open(fd, (message) => this.#onMessage(message))
  }

  /**
   * Connects to the socket of a device and negotiates.
   *
   * @throws ENOENT, ECONNREFUSED nobody serves there · EINVAL the versions do not fit · ETIMEDOUT
   */
  static async attach(path: string, options: AttachOptions = {}): Promise<Client> {
    const client = Client.overSocket(connectUnix(path), options)
    try {
      await client.negotiate()
      return client
    } catch (error) {
      client.detach()
      throw error
    }
  }

  /** A client over a socket that is connected already, which it owns from now on; nothing is negotiated yet. */
  static overSocket(fd: number, options: AttachOptions = {}): Client {
    return new Client(fd, options)
  }

  /** What the server said in VERSION. */
  get capabilities(): Capabilities {
    return this.#capabilities
  }

  /** Most bytes of one read or write. */
  get maxTransfer(): number {
    const { max_data_xfer_size: theirs } = this.#capabilities
    return Math.max(1, Math.min(theirs, PROPOSAL.max_data_xfer_size))
  }

  /** A region, there or not. @param index of {@link REGION}, or one of the device's own */
  region(index: number): ClientRegion {
    return new ClientRegion(this, index)
  }

  /** PCI configuration space. */
  get config(): ClientRegion {
    return this.region(REGION.config)
  }

  /** Says VERSION. Once, first; {@link attach} does it. @throws EINVAL the server refuses, or speaks another major */
  async negotiate(): Promise<void> {
    const json = encodeCapabilities({ ...PROPOSAL, ...(this.#wantsTwin && TWIN_SOCKET) })
    const payload = new Uint8Array(wire.VfioUserVersion.size + json.length)
    payload.set(
      wire.VfioUserVersion.encode({ major: wire.VFIO_USER_MAJOR, minor: wire.VFIO_USER_MINOR }),
    )
    payload.set(json, wire.VfioUserVersion.size)
    const reply = await this.requestFds(wire.VFIO_USER_VERSION, payload, PROPOSAL.max_msg_fds)
    const fds = new Set(reply.fds)
    try {
      this.#capabilities = parseVersion(reply.payload)
      this.#openTwin(this.#capabilities.twin_socket, reply.fds, fds)
    } finally {
      closeFds(fds)
    }
  }

  async info(): Promise<DeviceInfo> {
    const { size } = vfio.VfioDeviceInfo
    const reply = await this.request(
      wire.VFIO_USER_DEVICE_GET_INFO,
      vfio.VfioDeviceInfo.encode({ argsz: size }),
    )
    const { flags, num_regions, num_irqs } = vfio.VfioDeviceInfo.view().aim(dataViewOf(reply))
    return { flags, regionCount: num_regions, irqCount: num_irqs }
  }

  /** @param index VFIO_PCI_*_REGION_INDEX @throws EPROTO the server contradicts itself */
  async regionInfo(index: number): Promise<RegionInfo> {
    return this.#regions.info(index)
  }

  /**
   * Maps what the server offers of a region; the rest is for messages. Nothing is mapped beyond the server's file as it is
   * now. A server that shrinks it afterwards ends this process at the next access (SIGBUS): map those that you trust.
   *
   * @throws EOPNOTSUPP nothing of it is offered, or it is of huge pages · EPROTO what is offered is not there, or no whole pages ·
   *         EINVAL an area beyond 4 GiB · ENOSPC, ENOMEM
   */
  async mapRegion(index: number): Promise<MappedRegion> {
    return this.#regions.map(index)
  }

  /**
   * Gets ready to ring the doorbells of a region: by eventfd as far as the server has some, else by posted writes.
   *
   * @throws EINVAL no such region, or something else than an eventfd came · EPROTO
   */
  async doorbells(index: number): Promise<ClientDoorbells> {
    return this.#regions.doorbells(index)
  }

  /** @param index VFIO_PCI_*_IRQ_INDEX */
  async irqInfo(index: number): Promise<IrqInfo> {
    const request = vfio.VfioIrqInfo.encode({ argsz: vfio.VfioIrqInfo.size, index })
    const reply = await this.request(wire.VFIO_USER_DEVICE_GET_IRQ_INFO, request)
    const { flags, count } = vfio.VfioIrqInfo.view().aim(dataViewOf(reply))
    return { flags, count }
  }

  /** Reads `count` bytes of a region. @throws EINVAL out of bounds, and what the device says */
  async read(region: number, offset: number, count: number): Promise<Uint8Array> {
    const reply = await this.request(
      wire.VFIO_USER_REGION_READ,
      wire.VfioUserRegionAccess.encode({ offset, region, count }),
    )
    if (reply.length !== wire.VfioUserRegionAccess.size + count) {
      throw new ErrnoError('EPROTO', `REGION_READ of ${count} bytes: reply of ${reply.length}`)
    }
    return reply.slice(wire.VfioUserRegionAccess.size)
  }

  /** Writes bytes to a region, and waits until the device has taken them. */
  async write(region: number, offset: number, bytes: Uint8Array): Promise<void> {
    await this.request(wire.VFIO_USER_REGION_WRITE, encodeWrite(region, offset, bytes))
  }

  /** Writes bytes to a region without an answer; a later read finds them written. */
  post(region: number, offset: number, bytes: Uint8Array): void {
    this.#send(
      wire.VFIO_USER_REGION_WRITE,
      wire.VFIO_USER_F_NO_REPLY,
      encodeWrite(region, offset, bytes),
      [],
    )
  }

  /** Reads a little-endian register of 1, 2 or 4 bytes. */
  async readRegister(region: number, offset: number, width: 1 | 2 | 4): Promise<number> {
    const bytes = await this.read(region, offset, width)
    return Buffer.from(bytes).readUIntLE(0, width)
  }

  async writeRegister(
    region: number,
    offset: number,
    value: number,
    width: 1 | 2 | 4,
  ): Promise<void> {
    const bytes = Buffer.alloc(width)
    bytes.writeUIntLE(value, 0, width)
    await this.write(region, offset, bytes)
  }

  /**
   * Allocates memory and maps it for the device.
   *
   * @param iova where the device finds it; page aligned, like `size`
   * @throws what the server says of the map: EINVAL, EEXIST, ENOSPC
   */
  async map(iova: number, size: number, options: MapOptions = {}): Promise<ClientMemory> {
    return this.#memories.map(iova, size, options)
  }

  /**
   * Connects vectors of an irq index to this process.
   *
   * @param index of {@link IRQ}
   * @param count how many vectors, from 0 on
   * @throws EINVAL there are not so many · EMFILE, ENFILE
   */
  async interrupts(index: number, count = 1): Promise<ClientInterrupts> {
    const interrupts = new ClientInterrupts(this, index, () => this.#interrupts.delete(interrupts))
    this.#interrupts.add(interrupts)
    try {
      await interrupts.connect(this.#reactor, count, this.#capabilities.max_msg_fds)
      return interrupts
    } catch (error) {
      interrupts.end(errnoError(error), false)
      throw error
    }
  }

  /**
   * Gets or sets a feature of the device.
   *
   * @param feature VFIO_DEVICE_FEATURE_*
   * @returns data of the answer
   * @throws EOPNOTSUPP the server offers none · EINVAL not this one, or not so · EPROTO
   */
  async feature(
    feature: number,
    action: FeatureAction,
    options?: FeatureOptions,
  ): Promise<Uint8Array> {
    return this.#features.run(feature, action, options)
  }

  /** Whether the device has a feature, and `action` can be done with it. */
  async probeFeature(feature: number, action: FeatureAction): Promise<boolean> {
    return this.#features.probe(feature, action)
  }

  /** Puts the device back into its power-on state. */
  async reset(): Promise<void> {
    await this.request(wire.VFIO_USER_DEVICE_RESET, new Uint8Array(0))
  }

  /**
   * Sends any command and waits for its answer.
   *
   * @param fds stay the caller's
   * @returns the reply's payload
   * @throws the errno of a refusal · ETIMEDOUT, ECONNRESET
   */
  async request(
    command: number,
    payload: Uint8Array,
    fds: readonly number[] = [],
  ): Promise<Uint8Array> {
    return succeeded(command, await this.exchange(command, payload, fds)).payload
  }

  /** Takes replies with payloads of so many bytes from now on, as far as they can be dirty bitmaps. */
  expectReply(size: number): void {
    const payload = Math.min(size, MAX_BITMAP_SIZE + 64)
    this.#socket.expect(HEADER + payload)
  }

  /** As {@link request}, for replies that carry fds. @throws as {@link request} */
  async requestFds(command: number, payload: Uint8Array, maxReplyFds: number): Promise<Reply> {
    return succeeded(command, await this.exchange(command, payload, [], maxReplyFds))
  }

  /**
   * As {@link request}, but a refusal is a reply too.
   *
   * @param maxReplyFds most fds that the reply may give to the caller, who closes them; the rest is closed
   */
  async exchange(
    command: number,
    payload: Uint8Array,
    fds: readonly number[] = [],
    maxReplyFds = 0,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended)
        return
      }
      const id = this.#send(command, 0, payload, fds)
      const timer = setTimeout(() => {
        this.#end(
          new ErrnoError(
            'ETIMEDOUT',
            `vfio-user command ${command}: no answer in ${this.#timeoutMs} ms`,
          ),
        )
      }, this.#timeoutMs)
      this.#pending.set(id, { command, maxReplyFds, resolve, reject, timer })
    })
  }

  /**
   * Closes the connection; the device goes back to its power-on state. Memory that was mapped for it is given back, and reads
   * zeros from now on. Idempotent.
   */
  detach(): void {
    this.#end(new ErrnoError('ECONNRESET', 'vfio-user client: detached'), true)
    this.#memories.close()
  }

  [Symbol.dispose](): void {
    this.detach()
  }

  #send(command: number, flags: number, payload: Uint8Array, fds: readonly number[]): number {
    if (this.#ended !== undefined) throw this.#ended
    const id = this.#freeId()
    const size = HEADER + payload.length
    if (size > MAX_MESSAGE) throw new ErrnoError('EINVAL', `message of ${size} bytes`)
    try {
      this.#socket.send({ id, command, flags }, payload, fds)
    } catch (error) {
      if (!(error instanceof ErrnoError && error.code === 'EPIPE')) throw error
      throw closedByServer(error)
    }
    return id
  }

  /** The next id that no request waits with: posted writes use ids too, and overtake a request that waits for long. */
  #freeId(): number {
    if (this.#pending.size > MAX_ID) throw new ErrnoError('EAGAIN', 'no message id is free')
    while (this.#pending.has(this.#nextId)) this.#nextId = (this.#nextId + 1) & MAX_ID
    const id = this.#nextId
    this.#nextId = (id + 1) & MAX_ID
    return id
  }

  #open(fd: number, onMessage: (message: Message) => void): MessageSocket {
    return new MessageSocket({
      fd,
      reactor: this.#reactor,
      inbox: this.#inbox,
      maxSize: MAX_MESSAGE,
      onMessage,
      onEnd: (error) => this.#end(error === undefined ? closedByServer() : broke(error)),
    })
  }

  /** @param left the fds that nobody owns; what is used is taken out @throws EPROTO the server contradicts itself */
  #openTwin(
    offer: TwinSocketCapability | undefined,
    fds: readonly number[],
    left: Set<number>,
  ): void {
    if (offer?.supported !== true) return
    if (!this.#wantsTwin) throw broken('a twin socket that was not asked for')
    const fd = offer.fd_index === undefined ? undefined : fds[offer.fd_index]
    if (fd === undefined) throw broken(`twin socket: fd ${offer.fd_index} of ${fds.length}`)
    if (!fstatSync(fd).isSocket()) throw broken('twin socket: the fd is none')
    if (this.#ended !== undefined) throw this.#ended
    left.delete(fd)
    this.#twin = this.#open(fd, (message) => this.#onRequest(message))
  }

  #onMessage(message: Message): void {
    if (!isReply(message)) {
      this.#answer(this.#socket, message)
      return
    }
    const pending = this.#pending.get(message.id)
    // Old servers answer posted writes.
    if (pending === undefined && message.command === wire.VFIO_USER_REGION_WRITE) return
    if (pending === undefined || pending.command !== message.command) {
      throw new ErrnoError('EPROTO', `reply ${hex(message.id)} to nothing that was asked`)
    }
    this.#pending.delete(message.id)
    clearTimeout(pending.timer)
    const failed = (message.flags & wire.VFIO_USER_F_ERROR) !== 0
    const errno = failed ? message.error || EIO : 0
    const fds = message.fds.splice(0, pending.maxReplyFds) // what is left is closed with the message
    pending.resolve({ errno, payload: message.payload(), fds })
  }

  /** What comes on the twin. @throws EPROTO a reply */
  #onRequest(message: Message): void {
    if (isReply(message)) throw new ErrnoError('EPROTO', 'reply on the twin socket')
    if (this.#twin !== undefined) this.#answer(this.#twin, message)
  }

  /** Does what the server asks for, and answers where that came. */
  #answer(socket: MessageSocket, message: Message): void {
    const { id, command } = message
    const { errno: error, payload } = this.#memories.answer(message)
    if ((message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) return
    socket.send({ id, command, flags: error === 0 ? SUCCESS : FAILURE, error }, payload)
  }

  /** @param isWanted whether this end wants it so */
  #end(error: ErrnoError, isWanted = false): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#socket.close() // before the twin, so that the server finds what was sent last
    this.#twin?.close()
    for (const interrupts of this.#interrupts) interrupts.end(error, isWanted)
    this.#regions.close()
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#pending.clear()
  }
}

const EIO = 5
const MAX_ID = 0xffff

/** @throws the errno of a refusal, whose fds are closed */
function succeeded(command: number, reply: Reply): Reply {
  if (reply.errno === 0) return reply
  closeFds(reply.fds)
  throw new ErrnoError(
    errnoCode(reply.errno),
    `vfio-user command ${command}: refused by the server`,
  )
}

function isReply({ flags }: Message): boolean {
  return (flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY
}

/** What the server said in VERSION. @throws EINVAL it speaks another version, or makes no sense */
function parseVersion(payload: Uint8Array): Capabilities {
  if (payload.length < wire.VfioUserVersion.size)
    throw new ErrnoError('EINVAL', `VERSION: reply of ${payload.length} bytes`)
  const { major, minor } = wire.VfioUserVersion.view().aim(dataViewOf(payload))
  if (major !== wire.VFIO_USER_MAJOR || minor > wire.VFIO_USER_MINOR)
    throw new ErrnoError('EINVAL', `server speaks vfio-user ${major}.${minor}`)
  return parseCapabilities(payload.slice(wire.VfioUserVersion.size))
}

function closedByServer(cause?: unknown): ErrnoError {
  return new ErrnoError('ECONNRESET', 'vfio-user server: closed the connection', { cause })
}

function broke(cause: unknown): ErrnoError {
  const { code } = errnoError(cause)
  return new ErrnoError(code, 'vfio-user server: the connection broke', { cause })
}

function errnoError(error: unknown): ErrnoError {
  return error instanceof ErrnoError ? error : new ErrnoError('EIO', String(error))
}

function encodeWrite(region: number, offset: number, bytes: Uint8Array): Uint8Array {
  const { size } = wire.VfioUserRegionAccess
  const payload = new Uint8Array(size + bytes.length)
  payload.set(wire.VfioUserRegionAccess.encode({ offset, region, count: bytes.length }))
  payload.set(bytes, size)
  return payload
}
