/**
 * The client's end of the protocol: drives a device from TypeScript, without a VM.
 *
 * One object is one connection. Requests may be sent without waiting for earlier ones; the server answers in order.
 */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError, errnoCode } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { closeFd, closeFds } from '../os/fd.ts'
import { Inbox, Outbox, sendBytes, WOULD_BLOCK } from '../os/message.ts'
import { EPOLLIN, EPOLLOUT, reactor, type Reactor, type Watch } from '../os/reactor.ts'
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
import { ClientMemories, type ClientMemory, type MapOptions } from './client-memory.ts'
import { ClientRegions, type MappedRegion, type RegionInfo } from './client-regions.ts'
import { FrameReader, type Message } from './frame.ts'
import {
  type Capabilities,
  DEFAULT_CAPABILITIES,
  encodeCapabilities,
  MAX_BITMAP_SIZE,
  parseCapabilities,
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

export type { ClientDoorbells } from './client-doorbells.ts'
export type { DirtyLogOptions, FeatureAction, FeatureOptions } from './client-features.ts'
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
}

interface Pending {
  readonly command: number
  readonly maxReplyFds: number
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

export class Client {
  readonly #fd: number
  readonly #reactor: Reactor
  readonly #timeoutMs: number
  readonly #reader: FrameReader
  readonly #outbox = new Outbox(MAX_MESSAGE)
  readonly #header = wire.VfioUserHeader.view()
  readonly #watch: Watch
  readonly #pending = new Map<number, Pending>()
  readonly #memories = new ClientMemories(this)
  readonly #regions = new ClientRegions(this)
  readonly #features = new ClientFeatures(this)
  /** The device's state, and how it moves to another device. */
  readonly migration = new ClientMigration(this, this.#features)
  /** Which pages of memory the device writes. */
  readonly dirtyLog = new ClientDirtyLog(this.#features)
  readonly #backlog: Uint8Array[] = []
  readonly #interrupts = new Set<ClientInterrupts>()
  #nextId = 0
  #capabilities: Capabilities = DEFAULT_CAPABILITIES
  #ended: ErrnoError | undefined

  private constructor(fd: number, options: AttachOptions) {
    this.#fd = fd
    this.#reactor = options.reactor ?? reactor()
    this.#timeoutMs = options.timeoutMs ?? 5000
    this.#reader = new FrameReader(new Inbox(64 * 1024), MAX_MESSAGE, (message) =>
      this.#onMessage(message),
    )
    this.#watch = this.#reactor.watch(fd, EPOLLIN, (events) => this.#onReady(events))
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

  /** Says VERSION. Once, first; {@link attach} does it. @throws EINVAL the server refuses, or speaks another major */
  async negotiate(): Promise<void> {
    const json = encodeCapabilities(PROPOSAL)
    const payload = new Uint8Array(wire.VfioUserVersion.size + json.length)
    payload.set(
      wire.VfioUserVersion.encode({ major: wire.VFIO_USER_MAJOR, minor: wire.VFIO_USER_MINOR }),
    )
    payload.set(json, wire.VfioUserVersion.size)
    const reply = await this.request(wire.VFIO_USER_VERSION, payload)
    const { major, minor } = wire.VfioUserVersion.view().aim(dataViewOf(reply))
    if (major !== wire.VFIO_USER_MAJOR || minor > wire.VFIO_USER_MINOR) {
      throw new ErrnoError('EINVAL', `server speaks vfio-user ${major}.${minor}`)
    }
    this.#capabilities = parseCapabilities(reply.slice(wire.VfioUserVersion.size))
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
   * @param index VFIO_PCI_*_IRQ_INDEX
   * @param count how many vectors, from 0 on
   */
  async interrupts(index: number, count = 1): Promise<ClientInterrupts> {
    const interrupts = new ClientInterrupts(this, this.#reactor, index, count)
    this.#interrupts.add(interrupts)
    try {
      await interrupts.connect(this.#capabilities.max_msg_fds)
      return interrupts
    } catch (error) {
      this.#interrupts.delete(interrupts)
      interrupts.close(error as Error)
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
    this.#reader.maxSize = Math.max(this.#reader.maxSize, HEADER + payload)
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

  /** Closes the connection; the device goes back to its power-on state. Idempotent. */
  detach(): void {
    this.#end(new ErrnoError('ECONNRESET', 'vfio-user client: detached'))
  }

  #send(command: number, flags: number, payload: Uint8Array, fds: readonly number[]): number {
    if (this.#ended !== undefined) throw this.#ended
    const id = this.#freeId()
    this.#sendFrame(id, command, flags, 0, payload, fds)
    return id
  }

  #sendFrame(
    id: number,
    command: number,
    flags: number,
    error: number,
    payload: Uint8Array,
    fds: readonly number[] = [],
  ): void {
    const size = HEADER + payload.length
    if (size > this.#outbox.bytes.length) throw new ErrnoError('EINVAL', `message of ${size} bytes`)
    const header = this.#header.aim(this.#outbox.view)
    header.msg_id = id
    header.command = command
    header.size = size
    header.flags = flags
    header.error = error
    this.#outbox.bytes.set(payload, HEADER)
    if (this.#backlog.length > 0) {
      // Fds cannot wait: they may be closed by their owner meanwhile.
      if (fds.length > 0) throw serverDoesNotRead()
      this.#backlog.push(this.#outbox.bytes.slice(0, size))
      return
    }
    const taken = this.#take(size, fds)
    if (taken === WOULD_BLOCK && fds.length > 0) throw serverDoesNotRead()
    const sent = Math.max(0, taken)
    if (sent < size) {
      this.#backlog.push(this.#outbox.bytes.slice(sent, size))
      this.#watch.interest = EPOLLIN | EPOLLOUT
    }
  }

  /** Sends what the socket takes. @throws ECONNRESET the server has gone */
  #take(size: number, fds: readonly number[]): number {
    try {
      return this.#outbox.send(this.#fd, size, fds)
    } catch (error) {
      if (!(error instanceof ErrnoError && error.code === 'EPIPE')) throw error
      throw new ErrnoError('ECONNRESET', 'vfio-user server: closed the connection', {
        cause: error,
      })
    }
  }

  /** The next id that no request waits with: posted writes use ids too, and overtake a request that waits for long. */
  #freeId(): number {
    if (this.#pending.size > MAX_ID) throw new ErrnoError('EAGAIN', 'no message id is free')
    while (this.#pending.has(this.#nextId)) this.#nextId = (this.#nextId + 1) & MAX_ID
    const id = this.#nextId
    this.#nextId = (id + 1) & MAX_ID
    return id
  }

  #onReady(events: number): void {
    try {
      if ((events & EPOLLOUT) !== 0) this.#sendBacklog()
      if (this.#reader.receive(this.#fd) === 'end') {
        this.#end(new ErrnoError('ECONNRESET', 'vfio-user server: closed the connection'))
      }
    } catch (error) {
      const code = error instanceof ErrnoError ? error.code : 'EIO'
      this.#end(new ErrnoError(code, 'vfio-user server: the connection broke', { cause: error }))
    }
  }

  #sendBacklog(): void {
    for (const [i, message] of this.#backlog.entries()) {
      const sent = Math.max(0, sendBytes(this.#fd, message))
      if (sent < message.length) {
        this.#backlog[i] = message.subarray(sent)
        this.#backlog.splice(0, i)
        return
      }
    }
    this.#backlog.length = 0
    this.#watch.interest = EPOLLIN
  }

  #onMessage(message: Message): boolean {
    if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_REPLY) {
      this.#answer(message)
      return true
    }
    const pending = this.#pending.get(message.id)
    // Old servers answer posted writes.
    if (pending === undefined && message.command === wire.VFIO_USER_REGION_WRITE) return true
    if (pending === undefined || pending.command !== message.command) {
      throw new ErrnoError('EPROTO', `reply ${hex(message.id)} to nothing that was asked`)
    }
    this.#pending.delete(message.id)
    clearTimeout(pending.timer)
    const failed = (message.flags & wire.VFIO_USER_F_ERROR) !== 0
    const errno = failed ? message.error || EIO : 0
    const fds = message.fds.splice(0, pending.maxReplyFds) // what is left is closed with the message
    pending.resolve({ errno, payload: message.payload(), fds })
    return true
  }

  /** Does what the server asks for. */
  #answer(message: Message): void {
    const { id, command } = message
    const { errno, payload } = this.#memories.answer(message)
    if ((message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) return
    const flags = wire.VFIO_USER_F_TYPE_REPLY | (errno === 0 ? 0 : wire.VFIO_USER_F_ERROR)
    this.#sendFrame(id, command, flags, errno, payload)
  }

  #end(error: ErrnoError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#watch.close()
    closeFd(this.#fd)
    this.#reader.close()
    for (const interrupts of this.#interrupts) interrupts.close(error)
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

function serverDoesNotRead(): ErrnoError {
  return new ErrnoError('EAGAIN', 'vfio-user server: does not read, and fds cannot wait')
}

function encodeWrite(region: number, offset: number, bytes: Uint8Array): Uint8Array {
  const { size } = wire.VfioUserRegionAccess
  const payload = new Uint8Array(size + bytes.length)
  payload.set(wire.VfioUserRegionAccess.encode({ offset, region, count: bytes.length }))
  payload.set(bytes, size)
  return payload
}
