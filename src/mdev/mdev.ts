/** One mediated device: its states, its settings, and its one user at a time. */
import type { Device } from '../device/device.ts'
import type { ClientMemory, DmaRange } from '../device/dma.ts'
import type { Clock } from '../lib/clock.ts'
import { inTime } from '../lib/within.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import {
  type Attributes,
  type AttributeTexts,
  differingNames,
  mergeTexts,
  mustBeChangeable,
  parseAttributes,
  showAttributes,
} from './attribute.ts'
import { BuiltDevice } from './built-device.ts'
import type { Mdev, TypeInfo } from './driver.ts'
import type { DriverSide } from './driver-side.ts'
import { announce, type Events } from './events.ts'
import { Faults } from './faults.ts'
import { checkGroupText, GROUP, groupOf } from './group-attribute.ts'
import type { Group, GroupUser } from './group.ts'
import type { Status } from './status.ts'

export type MdevState = 'creating' | 'active' | 'removing' | 'removed'

/** As often as vfio core asks (vfio_unregister_group_dev). */
const ASK_EVERY_MS = 10_000
/** How long a driver may take to build a device, and to change settings of one in use. */
export const PROBE_MS = 30_000
const CHANGE_MS = 10_000

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
  /** What its driver finds in place of settings that its type does not have. */
  readonly missing: Readonly<Record<string, unknown>>
  /** What its creator wants of them. */
  readonly texts: AttributeTexts
  /** Of its own. */
  readonly group: Group
  /** Makes it a member of a group, by its UUID; of a new one of its own when that is empty. */
  readonly joinGroup: (uuid: string) => Promise<Group>
  readonly directory: string
  readonly driver: DriverSide
  readonly log: Logger
  readonly events: Events
  readonly clock: Clock
  /** Called when it was to be built anew, and could not be: it is to be removed. */
  readonly onBroken: () => void
}

/** An opened mdev. */
export interface MdevSession {
  readonly device: Device
  /**
   * Where drivers have to be told first: resolves when it is open, until when there is nothing to do with it but to close it.
   *
   * @throws ETIMEDOUT a driver takes too long · what a driver says · ECONNABORTED it has been closed; it is closed in any case
   */
  readonly ready?: Promise<void>
  /** Tells the driver what the client has mapped, and what it is about to unmap. */
  dmaMap(range: DmaRange): void
  dmaUnmap(range: DmaRange): void
  /** Last close: the device goes back to its power-on state. Idempotent. */
  close(): void
}

export class MdevDevice {
  readonly uuid: string
  readonly typeName: string
  readonly directory: string
  readonly log: Logger
  readonly #options: MdevOptions
  readonly #faults: Faults
  readonly #attributes: Attributes
  #texts: AttributeTexts
  #values: Readonly<Record<string, unknown>>
  #built: BuiltDevice
  #changing = false
  /** While it is being built anew; never rejected. */
  #rebuilding: Promise<void> | undefined
  /** It is about to be in another group, or another device in it. */
  #moving = false
  #group: Group
  readonly #joinGroup: MdevOptions['joinGroup']
  #state: MdevState = 'creating'
  #user: GroupUser | undefined
  /** Told when the client has let go. */
  #onRelease: (() => void) | undefined

  /** @throws ENOENT, EINVAL an attribute that is not known, or a bad value of one */
  constructor(options: MdevOptions) {
    this.uuid = options.uuid
    this.typeName = options.typeName
    this.#group = options.group
    this.#joinGroup = options.joinGroup
    this.directory = options.directory
    this.log = options.log
    this.#options = options
    this.#faults = new Faults(options.log)
    this.#attributes = options.attributes
    this.#texts = options.texts
    this.#values = { ...options.missing, ...parseAttributes(options.attributes, options.texts) }
    this.#built = this.#notBuilt()
  }

  /** A device that its driver has not built yet. */
  #notBuilt(): BuiltDevice {
    const { uuid, type, directory, driver, log } = this.#options
    const values = () => this.#values
    return new BuiltDevice({ uuid, type, directory, driver, faults: this.#faults, log, values })
  }

  /** The driver's view of this mdev. */
  get handle(): Mdev {
    return this.#built.handle
  }

  get state(): MdevState {
    return this.#state
  }

  get group(): Group {
    return this.#group
  }

  /** Who has it open. */
  get user(): GroupUser | undefined {
    return this.#user
  }

  /** @throws EAGAIN before `probe` has built it */
  get device(): Device {
    const { device } = this.#built
    if (device === undefined) throw this.#between()
    return device
  }

  /** Resolves when it is not being built anew any more; undefined where it is not. */
  get rebuilt(): Promise<void> | undefined {
    return this.#rebuilding
  }

  /** The settings that were written, in their order; the others have their defaults. */
  get texts(): AttributeTexts {
    return this.#texts
  }

  /** How all settings read. */
  get values(): Readonly<Record<string, string>> {
    const show = () => showAttributes(this.#attributes, this.#values)
    return this.#faults.ask('attributes', {}, show, (shown) => shown as Status)
  }

  /**
   * Changes settings of an mdev that is there: all of them, or none.
   *
   * Where all are 'live', its driver is asked. A setting for the next start has the device built anew: identity, group and socket
   * stay, and nobody can open it meanwhile. If that fails, it is built as it was; if that fails too, the mdev is removed.
   *
   * @throws ENOENT no such attribute · EINVAL a bad value · EOPNOTSUPP one takes effect only in an mdev made anew · EAGAIN it is
   *         being created or removed · EBUSY a client has it open, where it would be built anew, or another change is under way ·
   *         ETIMEDOUT the driver takes too long; what comes of it holds · what the driver says
   */
  async changeAttributes(texts: AttributeTexts): Promise<void> {
    if (this.#state !== 'active') throw this.#between()
    checkGroupText(this.typeName, this.#attributes, texts)
    const next = parseAttributes(this.#attributes, texts, this.#values)
    mustBeChangeable(this.#attributes, texts)
    if (this.#changing) throw new ErrnoError('EBUSY', `mdev ${this.uuid}: attributes are changing`)
    const [name] = differingNames(this.#attributes, this.#values, next, 'next-start')
    if (name !== undefined && this.#user !== undefined) {
      const why = `in use by ${this.#user.description}`
      throw new ErrnoError(
        'EBUSY',
        `mdev ${this.uuid}: ${why}; ${name} can change without a client`,
      )
    }
    this.#changing = true
    const change = this.#change(texts, next, name !== undefined)
    const ms = name === undefined ? CHANGE_MS : PROBE_MS
    await inTime(change, `mdev ${this.uuid}: change of its attributes`, ms, this.#options.clock)
  }

  async #change(
    texts: AttributeTexts,
    next: Readonly<Record<string, unknown>>,
    anew: boolean,
  ): Promise<void> {
    let group: Group | undefined
    try {
      const joining = this.#otherGroup(next)
      if (joining !== undefined) {
        group = await joining
        if (this.#state !== 'active') throw this.#between()
      }
      if (anew && this.#group.uuid !== undefined) {
        this.#moving = true // its driver has shown it to a use that may be under way
        await this.#group.mustBeIdle()
        if (this.#state !== 'active') throw this.#between()
      }
      if (anew) await this.#rebuild(next)
      else if (group === undefined || texts.some(([name]) => name !== GROUP))
        await this.#built.changeAttributes(next)
      if (this.#state !== 'active') throw this.#between() // it has been removed meanwhile
      this.#values = next
      this.#texts = mergeTexts(this.#texts, texts)
      if (group !== undefined) [this.#group, group] = [group, this.#group]
    } finally {
      this.#moving = false
      this.#changing = false
      this.#leave(group) // the one it has left, or, where the change failed, the one it was to join
    }
    announce(this.#options.events, this.log, 'change', this)
  }

  async #rebuild(next: Readonly<Record<string, unknown>>): Promise<void> {
    const work = this.#buildAnew(next)
    this.#rebuilding = work.catch(() => {}) // whoever waits for its end does not care how it ends
    try {
      await work
    } finally {
      this.#rebuilding = undefined
    }
  }

  /** The old device goes first: the new one may need what it has. */
  async #buildAnew(next: Readonly<Record<string, unknown>>): Promise<void> {
    const before = this.#values
    try {
      await this.#buildWith(next)
    } catch (error) {
      if (this.#state !== 'active') throw this.#between()
      try {
        await this.#buildWith(before)
      } catch (failure) {
        this.log.error('removed: it could not be changed, nor built as it was', failure)
        this.#options.onBroken()
      }
      throw error
    }
  }

  async #buildWith(values: Readonly<Record<string, unknown>>): Promise<void> {
    this.#built.remove()
    this.#values = values
    this.#built = this.#notBuilt()
    await this.#built.probe()
  }

  /** Joins the group that was written at its creation, if any. @throws as Claims.joinGroup */
  async joinGroup(): Promise<void> {
    const joining = this.#otherGroup(this.#values)
    if (joining === undefined) return
    const before = this.#group
    this.#group = await joining
    this.#moving = false
    this.#leave(before)
  }

  /** Where its files cannot be tidied up, the mdev is in it no more all the same. */
  #leave(group: Group | undefined): void {
    if (group !== undefined) this.#quietly(`leaving group ${group.number}`, () => group.leave())
  }

  /**
   * Joins the group that `values` want, where that is another than the one it is in. Until that has been left the mdev is in
   * both, and cannot be opened.
   *
   * @returns nothing where it stays
   * @throws EBUSY either of them is in use
   */
  #otherGroup(values: Readonly<Record<string, unknown>>): Promise<Group> | undefined {
    const uuid = groupOf(this.#attributes, values)
    return uuid === (this.#group.uuid ?? '') ? undefined : this.#move(uuid)
  }

  async #move(uuid: string): Promise<Group> {
    this.#moving = true
    await this.#group.mustBeIdle()
    return this.#joinGroup(uuid)
  }

  /** What the driver shows of this mdev. A driver that throws shows nothing. */
  status(): Status {
    return this.#built.status()
  }

  /** Which functions of the driver failed when last called for this mdev, and how. */
  get faults(): readonly string[] {
    return this.#faults.texts
  }

  /**
   * Lets the driver build the device.
   *
   * @throws what `probe` throws; EINVAL when it built no PCI function
   */
  async probe(): Promise<void> {
    await this.#built.probe()
  }

  /** The creation is complete. */
  activate(): void {
    this.#become('active')
  }

  /**
   * Opens the mdev for its client.
   *
   * @param memory the client's address space
   * @throws EBUSY another client has it, or another process its group · EAGAIN it is being created, built anew or removed, or
   *         changes its group · what the driver says
   */
  open(user: GroupUser, memory: ClientMemory): MdevSession {
    if (this.#state !== 'active') throw this.#between()
    if (this.#rebuilding !== undefined)
      throw new ErrnoError('EAGAIN', `mdev ${this.uuid}: attributes are changing`)
    if (this.#moving) throw new ErrnoError('EAGAIN', `mdev ${this.uuid}: its group is changing`)
    const built = this.#built
    const { device, group } = this
    const opening = group.open(user)
    this.#user = user
    let state: 'opening' | 'open' | 'closed' = 'opening'
    const attach = () => {
      state = 'open'
      built.attach(memory)
      announce(this.#options.events, this.log, 'attach', this)
    }
    const close = () => {
      if (state === 'closed') return
      const attached = state === 'open'
      state = 'closed'
      if (attached) built.detach()
      group.close(user)
      this.#user = undefined
      if (attached) announce(this.#options.events, this.log, 'detach', this)
      this.#onRelease?.()
    }
    const openLater = async (opened: Promise<void>) => {
      try {
        await opened
        if (state === 'closed')
          throw new ErrnoError('ECONNABORTED', `mdev ${this.uuid}: the client has gone`)
        if (this.#state === 'removed') throw this.#between() // from under a client that clings to it
        attach()
      } catch (error) {
        close()
        throw error
      }
    }
    if (opening === undefined) attach()
    return {
      device,
      ...(opening === undefined ? {} : { ready: openLater(opening) }),
      dmaMap: (range) => built.dmaMap(range),
      dmaUnmap: (range) => built.dmaUnmap(range),
      close,
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
      this.#quietly('asking the client to let go', () => this.#built.requestRelease())
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
    this.#group.depart()
    this.#built.remove()
    this.#become('removed')
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
