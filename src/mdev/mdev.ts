/** One mediated device: its states, its driver's side, and its one user at a time. */
import type { Device } from '../device/device.ts'
import { type ClientMemory, DmaGate, type DmaRange } from '../device/dma.ts'
import { PciDevice } from '../device/pci-device.ts'
import type { PciFunction, PciIdentity } from '../device/pci.ts'
import { SharedMemories, type SharedMemory } from '../device/shared-memory.ts'
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import {
  type Attributes,
  type AttributeTexts,
  mergeTexts,
  mustBeLive,
  parseAttributes,
  showAttributes,
} from './attribute.ts'
import type { DeviceOps, Mdev, TypeInfo } from './driver.ts'
import type { DriverSide } from './driver-side.ts'
import { announce, type Events } from './events.ts'
import type { Group, GroupUser } from './group.ts'

export type MdevState = 'creating' | 'active' | 'removing' | 'removed'

/** As often as vfio core asks (vfio_unregister_group_dev). */
const ASK_EVERY_MS = 10_000

/** What may follow what. */
const NEXT = {
  creating: ['active', 'removed'],
  active: ['removing'],
  removing: ['removed'],
  removed: [],
} as const satisfies Record<MdevState, readonly MdevState[]>

export interface MdevOptions {
  readonly uuid: string
  /** As in sysfs: `mtty-2`. */
  readonly typeName: string
  readonly type: TypeInfo
  /** What the driver declares. */
  readonly attributes: Attributes
  /** What its creator wants of them. */
  readonly texts: AttributeTexts
  readonly group: Group
  readonly directory: string
  readonly log: Logger
  readonly events: Events
}

/** An opened mdev. */
export interface MdevSession {
  readonly device: Device
  /** Tells the driver what the client has mapped, and what it is about to unmap. */
  dmaMap(range: DmaRange): void
  dmaUnmap(range: DmaRange): void
  /** Last close: the device goes back to its power-on state. Idempotent. */
  close(): void
}

export class MdevDevice {
  readonly uuid: string
  readonly typeName: string
  readonly group: Group
  readonly directory: string
  readonly log: Logger
  /** The driver's view of this mdev. */
  readonly handle: Mdev
  readonly #events: Events
  readonly #attributes: Attributes
  #texts: AttributeTexts
  #values: Readonly<Record<string, unknown>>
  #changing = false
  readonly #dma: DmaGate
  readonly #memories = new SharedMemories()
  #state: MdevState = 'creating'
  #user: GroupUser | undefined
  /** Told when the client has let go. */
  #onRelease: (() => void) | undefined
  #pci: PciDevice | undefined
  #ops: DeviceOps | undefined

  /** @throws ENOENT, EINVAL an attribute that is not known, or a bad value of one */
  constructor(options: MdevOptions) {
    this.uuid = options.uuid
    this.typeName = options.typeName
    this.group = options.group
    this.directory = options.directory
    this.log = options.log
    this.#events = options.events
    this.#attributes = options.attributes
    this.#texts = options.texts
    this.#values = parseAttributes(options.attributes, options.texts)
    this.#dma = new DmaGate(() => this.#pci?.busMaster ?? false)
    const values = () => this.#values
    this.handle = {
      uuid: options.uuid,
      type: options.type,
      get attributes() {
        return values()
      },
      directory: options.directory,
      dma: this.#dma,
      log: options.log,
      pci: (identity) => this.#buildPci(identity),
      sharedMemory: (size) => this.#createMemory(size),
    }
  }

  get state(): MdevState {
    return this.#state
  }

  /** Who has it open. */
  get user(): GroupUser | undefined {
    return this.#user
  }

  /** @throws EAGAIN before `probe` has built it */
  get device(): Device {
    if (this.#pci === undefined || this.#state === 'creating') throw this.#between()
    return this.#pci
  }

  /** The settings that were written, in their order; the others have their defaults. */
  get texts(): AttributeTexts {
    return this.#texts
  }

  /** How all settings read. */
  get values(): Readonly<Record<string, string>> {
    return showAttributes(this.#attributes, this.#values)
  }

  /**
   * Changes settings while the mdev is there: all of them, or none.
   *
   * @throws ENOENT no such attribute · EINVAL a bad value · EOPNOTSUPP one takes effect only at the next start, or in an mdev made
   *         anew · EAGAIN it is being created or removed · EBUSY another change is under way · what the driver says
   */
  async changeAttributes(texts: AttributeTexts): Promise<void> {
    if (this.#state !== 'active') throw this.#between()
    const next = parseAttributes(this.#attributes, texts, this.#values)
    mustBeLive(this.#attributes, texts, 'when the mdev is next started')
    if (this.#changing) throw new ErrnoError('EBUSY', `mdev ${this.uuid}: attributes are changing`)
    this.#changing = true
    try {
      await this.#ops?.changeAttributes?.(next)
      if (this.#state !== 'active') throw this.#between() // it has been removed meanwhile
      this.#values = next
      this.#texts = mergeTexts(this.#texts, texts)
    } finally {
      this.#changing = false
    }
    announce(this.#events, this.log, 'change', this)
  }

  /** What the driver shows of this mdev. A driver that throws shows nothing. */
  status(): Readonly<Record<string, string>> {
    try {
      return this.#ops?.status?.() ?? {}
    } catch (error) {
      this.log.error("driver's status", error)
      return {}
    }
  }

  /**
   * Lets the driver build the device.
   *
   * @throws what `probe` throws; EINVAL when it built no PCI function
   */
  async probe(driver: Pick<DriverSide, 'name' | 'probe'>): Promise<void> {
    const ops = await driver.probe(this.handle)
    if (this.#pci === undefined || typeof ops?.reset !== 'function') {
      this.#quietly("driver's remove", () => ops?.remove?.())
      throw new ErrnoError(
        'EINVAL',
        `driver ${driver.name}: probe must call mdev.pci() and return { reset }`,
      )
    }
    this.#ops = ops
    this.#pci.seal((why) => this.#quietly("driver's reset", () => ops.reset(why)))
    if (ops.state !== undefined) {
      this.#pci.enableMigration(ops.state, (held) => {
        this.#dma.held = held
      })
    }
  }

  /** The creation is complete. */
  activate(): void {
    this.#become('active')
  }

  /**
   * Opens the mdev for its client.
   *
   * @param memory the client's address space
   * @throws EBUSY another client has its group · EAGAIN it is being created or removed
   */
  open(user: GroupUser, memory: ClientMemory): MdevSession {
    if (this.#state !== 'active') throw this.#between()
    const { device } = this
    this.group.open(user)
    this.#user = user
    this.#dma.memory = memory
    announce(this.#events, this.log, 'attach', this)
    let open = true
    return {
      device,
      dmaMap: (range) => this.#quietly("driver's dmaMap", () => this.#ops?.dmaMap?.(range)),
      dmaUnmap: (range) => this.#quietly("driver's dmaUnmap", () => this.#ops?.dmaUnmap?.(range)),
      close: () => {
        if (!open) return
        open = false
        this.#dma.memory = undefined // first: the reset must not reach a client that has gone
        this.#quietly('taking shared memory back', () => this.#memories.renew())
        if (device.migration?.stopped !== true) device.reset('disconnect') // else the next client carries on
        for (const irq of device.irqs) irq.disable()
        this.group.close(user)
        this.#user = undefined
        announce(this.#events, this.log, 'detach', this)
        this.#onRelease?.()
      },
    }
  }

  /** Begins the removal: nobody can open it any more. @throws EAGAIN it is being created or removed already */
  beginRemoval(): void {
    if (this.#state !== 'active') throw this.#between()
    this.#become('removing')
  }

  /** Takes it away from its client. */
  evict(): void {
    this.#quietly('evicting the client', () => this.#user?.evict())
    this.#onRelease?.() // also where it clings to it: nobody waits for such a client
  }

  /**
   * Asks the client to let go, by the REQ interrupt, now and every 10 s, as vfio-pci does; resolves when it has.
   *
   * It cannot be called off, only cut short: by {@link evict}.
   */
  async drained(clock: Clock): Promise<void> {
    if (this.#user === undefined) return
    const ask = () => {
      this.log.info(`removal waits for ${this.#user?.description}`)
      this.#quietly('asking the client to let go', () => this.#pci?.requestRelease())
    }
    const stop = clock.every(ASK_EVERY_MS, ask)
    await new Promise<void>((resolve) => {
      this.#onRelease = resolve
      ask() // it may let go at once
    })
    stop()
  }

  /** The driver, if it built anything, lets go; afterwards the mdev is no more. */
  finishRemoval(): void {
    this.#quietly("driver's remove", () => this.#ops?.remove?.())
    this.#quietly('freeing shared memory', () => this.#memories.free())
    this.#become('removed')
  }

  #buildPci(identity: PciIdentity): PciFunction {
    if (this.#state !== 'creating')
      throw new ErrnoError('EBUSY', `mdev ${this.uuid}: mdev.pci() is for probe`)
    if (this.#pci !== undefined)
      throw new ErrnoError('EEXIST', `mdev ${this.uuid}: is a PCI function already`)
    this.#pci = new PciDevice(identity)
    return this.#pci
  }

  #createMemory(size: number): SharedMemory {
    if (this.#state !== 'creating')
      throw new ErrnoError('EBUSY', `mdev ${this.uuid}: mdev.sharedMemory() is for probe`)
    return this.#memories.create(size)
  }

  /** A mistake of others in a call that cannot be refused is logged and goes no further. */
  #quietly(what: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.log.error(what, error)
    }
  }

  #become(state: MdevState): void {
    const next: readonly MdevState[] = NEXT[this.#state]
    if (!next.includes(state)) throw this.#between()
    this.#state = state
  }

  #between(): ErrnoError {
    return new ErrnoError('EAGAIN', `mdev ${this.uuid}: ${this.#state}`)
  }
}
