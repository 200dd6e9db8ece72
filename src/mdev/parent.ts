/** A parent: what is sliced. It offers its driver's types and bears mdevs, created and removed by UUID. */
import { type Clock, systemClock } from '../lib/clock.ts'
import { inTime } from '../lib/within.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { parseUuid } from '../lib/uuid.ts'
import { type AttributeTexts, parseAttributes } from './attribute.ts'
import type { Claims } from './claims.ts'
import type { Driver, TypeInfo } from './driver.ts'
import { DriverSide } from './driver-side.ts'
import { announce, type Events } from './events.ts'
import { checkGroupText, withGroup } from './group-attribute.ts'
import { MdevDevice, PROBE_MS } from './mdev.ts'
import { valuesOfMissing } from './type-attributes.ts'
import { ParentGroups, type Standing } from './parent-groups.ts'

/** Exposes an mdev to clients. */
export interface BusDriver {
  /** @returns what takes it back @throws refuses the creation */
  expose(mdev: MdevDevice): Exposure
}

export interface Exposure {
  /** Ends it: no client can come any more, and a client that is there is gone. */
  close(): void
}

export interface ParentOptions {
  readonly name: string
  readonly driver: Driver
  readonly claims: Claims
  readonly events: Events
  readonly log: Logger
  readonly bus: BusDriver
  /** What is wanted of its settings. */
  readonly settings?: AttributeTexts
  /** The machine's unless given. */
  readonly clock?: Clock
}

/** A type as the parent offers it. */
export interface OfferedType {
  /** `<driver>-<id>`. */
  readonly name: string
  readonly info: TypeInfo
  /** How many more can be created now. */
  readonly availableInstances: number
  /** As in sysfs. */
  readonly deviceApi: 'vfio-pci'
  /** What the driver shows of it. */
  readonly status: Readonly<Record<string, string>>
}

export interface RemoveOptions {
  /** Takes it away from a client that uses it. */
  readonly force?: boolean
  /** Asks a client that uses it to let go, and waits. */
  readonly wait?: boolean
}

interface Borne {
  readonly mdev: MdevDevice
  readonly release: Unwind
  /** Resolves when it is no more. */
  readonly gone: Promise<void>
}

/** `registering`: its driver is opening what its mdevs will share. */
export type ParentState = 'registering' | 'registered' | 'unregistering' | 'unregistered'

export class Parent {
  readonly name: string
  readonly driver: Driver
  /**
   * Resolves when mdevs can be created. Where the driver opens nothing, or not by a promise, they can be at once.
   *
   * It is rejected with what refuses the registration.
   */
  readonly registered: Promise<void>
  readonly #options: ParentOptions
  readonly #clock: Clock
  readonly #side: DriverSide
  readonly #mdevs = new Map<string, Borne>()
  readonly #groups: ParentGroups
  #state: ParentState = 'registering'
  #unregistration: Promise<void> | undefined
  /** Clients are waited for no longer when it is unregistered. */
  #forced = false

  /** @throws ENOENT, EINVAL a setting that is not known, has a bad value, or is missing · what the driver's `open` throws */
  constructor(options: ParentOptions) {
    const { name, driver, log, settings: texts = [], clock = systemClock } = options
    this.name = name
    this.driver = driver
    this.#options = options
    this.#clock = clock
    const onChange = () => announce(options.events, log, 'changed', this)
    this.#side = new DriverSide({ name, driver, texts, log, clock, onChange })
    this.#groups = new ParentGroups({
      parent: name,
      hooks: this.#side.groupHooks,
      claims: options.claims,
      clock,
      log,
    })
    const opening = this.#side.open()
    if (opening === undefined) {
      this.#opened()
      this.registered = Promise.resolve()
    } else {
      this.registered = opening.then(
        () => this.#opened(),
        (error: unknown) => {
          this.#state = 'unregistered'
          throw error
        },
      )
      this.registered.catch(() => {}) // for whoever asks
    }
  }

  /** @throws ENODEV it is being unregistered already */
  #opened(): void {
    if (this.#state !== 'registering') throw this.#notRegistered()
    this.#state = 'registered'
    announce(this.#options.events, this.#options.log, 'registered', this)
  }

  get state(): ParentState {
    return this.#state
  }

  get mdevs(): readonly MdevDevice[] {
    return [...this.#mdevs.values()].map(({ mdev }) => mdev)
  }

  get types(): readonly OfferedType[] {
    return Object.entries(this.driver.types).map(([id, info]) => ({
      name: `${this.driver.name}-${id}`,
      info,
      availableInstances: this.#available(info),
      deviceApi: 'vfio-pci',
      status: this.#side.typeStatus(info),
    }))
  }

  /** Its settings that were written, in their order; the others have their defaults. */
  get texts(): AttributeTexts {
    return this.#side.texts
  }

  /** How all of its settings read. */
  get values(): Readonly<Record<string, string>> {
    return this.#side.values
  }

  /** What its driver shows of it. */
  status(): Readonly<Record<string, string>> {
    return this.#side.status()
  }

  /** Which functions of its driver failed when last called, and how. */
  get faults(): readonly string[] {
    return this.#side.faults
  }

  /** Notes what its driver did wrong where nobody called it: in a timer, or in a promise that nobody waits for. */
  noteStray(error: unknown): void {
    this.#side.noteStray(error)
  }

  /**
   * Changes settings of the parent: all of them, or none.
   *
   * @throws ENOENT no such setting · EINVAL a bad value · EOPNOTSUPP one takes effect only when the parent is next registered ·
   *         ENODEV it is not registered · EBUSY another change is under way · what the driver says
   */
  async changeAttributes(texts: AttributeTexts): Promise<void> {
    this.#mustBeRegistered()
    await this.#side.change(texts)
  }

  /** @throws ENOENT no such mdev here */
  mdev(uuid: string): MdevDevice {
    return this.#borne(uuid).mdev
  }

  /**
   * Creates an mdev. It all happens or nothing does.
   *
   * @param typeName such as `mtty-2`, or what that was in an earlier version
   * @param uuid     in either case; the mdev is named by its lower-case form
   * @param texts    settings, in their order; defaults for the rest
   * @throws ENOENT no such type or attribute · EINVAL no uuid, or a bad value · EEXIST the uuid is in use on this machine ·
   *         EUSERS, ENOSPC no instance left · ENODEV the parent is unregistering · what `probe` throws · ETIMEDOUT it takes
   *         too long; what it builds later is removed, and until then the mdev is there, and being created
   */
  async create(typeName: string, uuid: string, texts: AttributeTexts = []): Promise<MdevDevice> {
    const creation = this.#create(typeName, uuid, texts)
    try {
      return await inTime(creation, `mdev ${uuid}: probe`, PROBE_MS, this.#clock)
    } catch (error) {
      creation
        .then(
          (mdev) => this.remove(mdev.uuid, { force: true }),
          () => {}, // the usual case: it is what is thrown
        )
        .catch((failure: unknown) => {
          this.#options.log.error(`mdev ${uuid}: removing what came late`, failure)
        })
      throw error
    }
  }

  async #create(wanted: string, uuid: string, texts: AttributeTexts): Promise<MdevDevice> {
    const { claims, events, log, bus } = this.#options
    const { name: typeName, info: type } = this.#type(wanted)
    const name = parseUuid(uuid)
    const attributes = withGroup(this.driver, type)
    checkGroupText(typeName, attributes, texts)
    parseAttributes(attributes, texts) // refused before anything is claimed
    const undo = new Unwind()
    try {
      const directory = claims.claimUuid(name)
      undo.defer(() => directory.release())
      this.#mustHaveRoom(typeName, type)
      const standing: Standing = {
        member: { uuid: name, parent: this.name, type: typeName },
        handle: () => mdev.handle,
      }
      const group = this.#groups.own(standing)
      undo.defer(() => group.leave())
      const mdev = new MdevDevice({
        uuid: name,
        typeName,
        type,
        attributes,
        missing: valuesOfMissing(this.driver, type),
        texts,
        group,
        joinGroup: async (group) =>
          group === '' ? this.#groups.own(standing) : this.#groups.join(group, standing),
        directory: directory.value,
        driver: this.#side,
        log: log.child(name),
        events,
        clock: this.#clock,
        onBroken: () => this.#removeBroken(name),
      })
      undo.defer(() => mdev.group.leave())
      this.#bear(mdev, undo)
      undo.defer(() => {
        this.#mdevs.delete(name)
        announce(events, log, 'remove', mdev)
      })
      announce(events, log, 'add', mdev)
      undo.defer(() => mdev.finishRemoval())
      await mdev.probe()
      await mdev.joinGroup() // what is in a group has been built
      this.#mustBeRegistered() // probe may have taken its time
      const exposure = bus.expose(mdev)
      undo.defer(() => exposure.close())
      mdev.activate()
      announce(events, log, 'bind', mdev)
      return mdev
    } catch (error) {
      try {
        undo[Symbol.dispose]()
      } catch (failure) {
        log.error(`mdev ${name}: undoing its creation`, failure)
      }
      throw error
    }
  }

  /** Lists an mdev from now on; `release` takes everything back that its creation does. */
  #bear(mdev: MdevDevice, release: Unwind): void {
    const gone = new Promise<void>((resolve) => release.defer(resolve))
    this.#mdevs.set(mdev.uuid, { mdev, release, gone })
  }

  #removeBroken(uuid: string): void {
    this.remove(uuid, { force: true }).catch((error: unknown) => {
      this.#options.log.error(`mdev ${uuid}: removing what cannot be built any more`, error)
    })
  }

  /**
   * Removes an mdev. Where there is nothing to wait for it is gone when this returns; where the client is waited for, nobody
   * else can open the mdev meanwhile, and nothing but `force` ends the wait.
   *
   * @throws ENOENT not here · EBUSY a client uses it · EAGAIN it is being created, or removed already · ENODEV the parent is
   *         unregistering, which removes it too
   */
  async remove(uuid: string, options: RemoveOptions = {}): Promise<void> {
    const borne = this.#borne(uuid)
    const { mdev } = borne
    if (options.force === true) {
      if (mdev.state === 'removing' && mdev.user !== undefined) {
        mdev.evict() // whoever waits for the client goes on
        await borne.gone
        return
      }
    } else {
      this.#mustBeRegistered()
      if (options.wait !== true && mdev.state === 'active' && mdev.user !== undefined) {
        throw new ErrnoError('EBUSY', `mdev ${mdev.uuid}: in use by ${mdev.user.description}`)
      }
    }
    await this.#remove(borne, options.force === true)
  }

  /** @returns nothing where it is gone already, else a promise of it */
  #remove(borne: Borne, force: boolean): void | Promise<void> {
    const { mdev } = borne
    mdev.beginRemoval()
    if (force) mdev.evict()
    const waiting =
      mdev.rebuilt ?? (force || mdev.user === undefined ? undefined : mdev.drained(this.#clock))
    if (waiting !== undefined) {
      announce(this.#options.events, this.#options.log, 'removing', mdev)
      return waiting.then(() => this.#finishRemoval(borne))
    }
    this.#finishRemoval(borne)
  }

  #finishRemoval({ mdev, release }: Borne): void {
    announce(this.#options.events, this.#options.log, 'unbind', mdev)
    release[Symbol.dispose]()
  }

  /**
   * Removes all mdevs, oldest first, and offers nothing more. It cannot be called off; called again it waits for the same
   * end, and with `force` hastens it.
   *
   * @param options `force` takes mdevs from their clients; else each client in turn is asked, and waited for. With it, all is
   *                done when this returns, but for what a `probe` is still building, and a driver's `close` that takes time:
   *                neither is waited for for ever
   * @throws the first error of a removal, after all of them
   */
  unregister({ force = false }: { readonly force?: boolean } = {}): Promise<void> {
    this.#forced ||= force
    this.#unregistration ??= this.#unregister()
    if (force) for (const { mdev } of this.#mdevs.values()) mdev.evict()
    return this.#unregistration
  }

  async #unregister(): Promise<void> {
    const before = this.#state
    this.#state = 'unregistering'
    if (before === 'registering') await this.registered.catch(() => {}) // it opens for so long at most
    const failures: unknown[] = []
    for (const borne of this.#mdevs.values()) {
      try {
        const waiting = this.#lastOf(borne)
        if (waiting !== undefined) await waiting
      } catch (error) {
        failures.push(error)
      }
    }
    const closing = this.#side.close()
    if (closing !== undefined) await closing
    this.#state = 'unregistered'
    if (before === 'registered')
      announce(this.#options.events, this.#options.log, 'unregistered', this)
    if (failures.length > 0) throw failures[0]
  }

  /** The end of an mdev whose parent is unregistered: removed now, or when a driver that builds it has built it, if it ever has. */
  #lastOf(borne: Borne): void | Promise<void> {
    const { mdev, gone } = borne
    const isBuilding = mdev.state === 'creating' || mdev.rebuilt !== undefined
    const removal = mdev.state === 'active' ? this.#remove(borne, this.#forced) : gone
    if (removal === undefined || !isBuilding) return removal
    return inTime(removal, `mdev ${mdev.uuid}: probe`, PROBE_MS, this.#clock)
  }

  /**
   * In the kernel's order: its core's counter comes before all else, the driver's own count last.
   *
   * @throws EUSERS, ENOSPC no instance left · ENODEV
   */
  #mustHaveRoom(typeName: string, type: TypeInfo): void {
    const left = this.#available(type)
    const counted = this.driver.maxInstances !== undefined
    if (!counted) this.#mustBeRegistered()
    if (left <= 0) {
      throw new ErrnoError(
        counted ? 'EUSERS' : 'ENOSPC',
        `type ${typeName}: no instance left on parent ${this.name}`,
      )
    }
    this.#mustBeRegistered()
  }

  /** @throws ENODEV */
  #mustBeRegistered(): void {
    if (this.#state !== 'registered') throw this.#notRegistered()
  }

  #notRegistered(): ErrnoError {
    return new ErrnoError('ENODEV', `parent ${this.name}: ${this.#state}`)
  }

  #borne(uuid: string): Borne {
    const borne = this.#mdevs.get(parseUuid(uuid))
    if (borne === undefined)
      throw new ErrnoError('ENOENT', `mdev ${uuid}: not on parent ${this.name}`)
    return borne
  }

  /** The type of that name, or that had it in an earlier version. */
  #type(typeName: string): { readonly name: string; readonly info: TypeInfo } {
    const { name: driver, types } = this.driver
    const id = typeName.startsWith(`${driver}-`) ? typeName.slice(driver.length + 1) : ''
    for (const [own, info] of Object.entries(types)) {
      if (own === id || info.aliases?.includes(id) === true)
        return { name: `${driver}-${own}`, info }
    }
    const offered = this.types.map(({ name }) => name).join(', ')
    throw new ErrnoError('ENOENT', `type ${typeName}: parent ${this.name} offers ${offered}`)
  }

  #available(type: TypeInfo): number {
    return this.#side.available(
      type,
      this.mdevs.map(({ handle }) => handle),
    )
  }
}
