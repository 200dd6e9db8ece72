/** One mediated device: its settings, and its one user at a time, from its creation to its removal. */
import type { Device } from '../device/device.ts'
import type { ClientMemory } from '../device/dma.ts'
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { AttributeTexts } from './attribute.ts'
import { BuiltDevice } from './built-device.ts'
import { CurrentDevice } from './current-device.ts'
import type { Mdev, TypeInfo } from './driver.ts'
import type { DriverSide } from './driver-side.ts'
import { announce, type Events, type MdevEvents } from './events.ts'
import { Faults } from './faults.ts'
import type { Group, GroupUser } from './group.ts'
import { MdevChanges } from './mdev-changes.ts'
import { MdevLife, type MdevState } from './mdev-life.ts'
import { type MdevSession, sessionOf } from './mdev-session.ts'
import { MdevSettings, type MdevSettingsOptions } from './mdev-settings.ts'
import { Membership, type MembershipOptions } from './membership.ts'
import type { Status } from './status.ts'

/** As often as vfio core asks (vfio_unregister_group_dev). */
const ASK_EVERY_MS = 10_000

export interface MdevOptions extends MdevSettingsOptions, MembershipOptions {
  readonly uuid: string
  readonly type: TypeInfo
  readonly directory: string
  readonly driver: DriverSide
  readonly events: Events
  readonly clock: Clock
  /** Called when it was to be built anew, and could not be: it is to be removed. */
  readonly onBroken: () => void
}

export class MdevDevice {
  readonly uuid: string
  /** As in sysfs: `mtty-2`. */
  readonly typeName: string
  readonly directory: string
  readonly log: Logger
  readonly #options: MdevOptions
  readonly #faults: Faults
  readonly #life: MdevLife
  readonly #settings: MdevSettings
  readonly #membership: Membership
  readonly #current: CurrentDevice
  readonly #changes: MdevChanges
  #user: GroupUser | undefined
  /** Told when the client has let go. */
  #onRelease: (() => void) | undefined

  /** @throws ENOENT, EINVAL an attribute that is not known, or a bad value of one */
  constructor(options: MdevOptions) {
    const { uuid, type, typeName, directory, driver, log, onBroken } = options
    this.uuid = uuid
    this.typeName = typeName
    this.directory = directory
    this.log = log
    this.#options = options
    const faults = new Faults(log)
    const life = new MdevLife(uuid)
    const settings = new MdevSettings(options)
    const values = () => settings.values
    const notBuilt = () => new BuiltDevice({ uuid, type, directory, driver, faults, log, values })
    this.#faults = faults
    this.#life = life
    this.#settings = settings
    this.#membership = new Membership(options)
    this.#current = new CurrentDevice({ life, settings, log, notBuilt, onBroken })
    this.#changes = new MdevChanges({
      uuid,
      life,
      settings,
      membership: this.#membership,
      current: this.#current,
      clock: options.clock,
      user: () => this.#user,
      onChange: () => this.#announce('change'),
    })
  }

  /** The driver's view of this mdev. */
  get handle(): Mdev {
    return this.#current.built.handle
  }

  get state(): MdevState {
    return this.#life.state
  }

  get group(): Group {
    return this.#membership.group
  }

  /** Who has it open. */
  get user(): GroupUser | undefined {
    return this.#user
  }

  /** @throws EAGAIN before `probe` has built it */
  get device(): Device {
    const { device } = this.#current.built
    if (device === undefined) throw this.#life.between()
    return device
  }

  /** Resolves when it is not being built anew any more; undefined where it is not. */
  get rebuilt(): Promise<void> | undefined {
    return this.#current.rebuilt
  }

  /** The settings that were written, in their order; the others have their defaults. */
  get texts(): AttributeTexts {
    return this.#settings.texts
  }

  /** How all settings read. */
  get values(): Readonly<Record<string, string>> {
    const show = () => this.#settings.show()
    return this.#faults.ask('attributes', {}, show, (shown) => shown as Status)
  }

  /** What the driver shows of this mdev. A driver that throws shows nothing. */
  status(): Status {
    return this.#current.built.status()
  }

  /** Which functions of the driver failed when last called for this mdev, and how. */
  get faults(): readonly string[] {
    return this.#faults.texts
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
  changeAttributes(texts: AttributeTexts): Promise<void> {
    return this.#changes.change(texts)
  }

  /**
   * Lets the driver build the device.
   *
   * @throws what `probe` throws; EINVAL when it built no PCI function
   */
  async probe(): Promise<void> {
    await this.#current.built.probe()
  }

  /** Joins the group that was written at its creation, if any. @throws as Claims.joinGroup */
  async joinGroup(): Promise<void> {
    const joining = this.#membership.join(this.#settings.groupOf(this.#settings.values))
    if (joining === undefined) return
    this.#membership.settle(this.#membership.replace(await joining))
  }

  /** The creation is complete. */
  activate(): void {
    this.#life.become('active')
  }

  /**
   * Opens the mdev for its client.
   *
   * @param memory the client's address space
   * @throws EBUSY another client has it, or another process its group · EAGAIN it is being created, built anew or removed, or
   *         changes its group · what the driver says
   */
  open(user: GroupUser, memory: ClientMemory): MdevSession {
    const { uuid } = this
    this.#life.mustBeActive()
    if (this.#current.rebuilt !== undefined)
      throw new ErrnoError('EAGAIN', `mdev ${uuid}: attributes are changing`)
    if (this.#membership.moving)
      throw new ErrnoError('EAGAIN', `mdev ${uuid}: its group is changing`)
    const { device, group } = this
    const opening = group.open(user)
    this.#user = user
    return sessionOf({
      uuid,
      life: this.#life,
      device,
      built: this.#current.built,
      memory,
      opening,
      tell: (event) => this.#announce(event),
      onClose: () => {
        group.close(user)
        this.#user = undefined
      },
      onClosed: () => this.#onRelease?.(),
    })
  }

  /** Begins the removal: nobody can open it any more. @throws EAGAIN it is being created or removed already */
  beginRemoval(): void {
    this.#life.mustBeActive()
    this.#life.become('removing')
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
      this.#quietly('asking the client to let go', () => this.#current.built.requestRelease())
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
    this.group.depart()
    this.#current.built.remove()
    this.#life.become('removed')
  }

  /** A mistake of others in a call that cannot be refused is logged and goes no further. */
  #quietly(what: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.log.error(what, error)
    }
  }

  #announce(event: MdevEvent): void {
    announce(this.#options.events, this.log, event, this)
  }
}

/** Of those that are told of mdevs. */
type MdevEvent = Extract<keyof MdevEvents, 'attach' | 'detach' | 'change'>
