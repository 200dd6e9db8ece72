/** A parent: what is sliced. It offers its driver's types and bears mdevs, created and removed by UUID. */
import { type Clock, systemClock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { parseUuid } from '../lib/uuid.ts'
import { type AttributeTexts, parseAttributes } from './attribute.ts'
import type { Claims } from './claims.ts'
import type { Driver, TypeInfo } from './driver.ts'
import { announce, type Events } from './events.ts'
import { Group } from './group.ts'
import { MdevDevice } from './mdev.ts'

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
}

/** What sysfs shows where a driver sets no limit: the largest unsigned int. */
const UNLIMITED = 2 ** 32 - 1

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

export type ParentState = 'registered' | 'unregistering' | 'unregistered'

export class Parent {
  readonly name: string
  readonly driver: Driver
  readonly #options: ParentOptions
  readonly #mdevs = new Map<string, Borne>()
  #state: ParentState = 'registered'
  #unregistration: Promise<void> | undefined

  constructor(options: ParentOptions) {
    this.name = options.name
    this.driver = options.driver
    this.#options = options
    announce(options.events, options.log, 'registered', this)
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
    }))
  }

  /** @throws ENOENT no such mdev here */
  mdev(uuid: string): MdevDevice {
    return this.#borne(uuid).mdev
  }

  /**
   * Creates an mdev. It all happens or nothing does.
   *
   * @param typeName such as `mtty-2`
   * @param uuid     in either case; the mdev is named by its lower-case form
   * @param texts    settings, in their order; defaults for the rest
   * @throws ENOENT no such type or attribute · EINVAL no uuid, or a bad value · EEXIST the uuid is in use on this machine ·
   *         EUSERS, ENOSPC no instance left · ENODEV the parent is unregistering · what `probe` throws
   */
  async create(typeName: string, uuid: string, texts: AttributeTexts = []): Promise<MdevDevice> {
    const { claims, events, log, bus } = this.#options
    const type = this.#type(typeName)
    const name = parseUuid(uuid)
    const { attributes = {} } = this.driver
    parseAttributes(attributes, texts) // refused before anything is claimed
    const undo = new Unwind()
    try {
      const directory = claims.claimUuid(name)
      undo.defer(() => directory.release())
      this.#mustHaveRoom(typeName, type)
      const group = claims.claimGroup()
      undo.defer(() => group.release())
      const mdev = new MdevDevice({
        uuid: name,
        typeName,
        type,
        attributes,
        texts,
        group: new Group(group.value),
        directory: directory.value,
        log: log.child(name),
        events,
      })
      this.#bear(mdev, undo)
      undo.defer(() => {
        this.#mdevs.delete(name)
        announce(events, log, 'remove', mdev)
      })
      announce(events, log, 'add', mdev)
      undo.defer(() => mdev.finishRemoval())
      await mdev.probe(this.driver)
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
    if (force || mdev.user === undefined) {
      this.#finishRemoval(borne)
      return
    }
    return mdev.drained(this.#options.clock ?? systemClock).then(() => this.#finishRemoval(borne))
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
   *                done when this returns, but for what a `probe` is still building
   * @throws the first error of a removal, after all of them
   */
  unregister({ force = false }: { readonly force?: boolean } = {}): Promise<void> {
    this.#unregistration ??= this.#unregister(force)
    if (force) for (const { mdev } of this.#mdevs.values()) mdev.evict()
    return this.#unregistration
  }

  async #unregister(force: boolean): Promise<void> {
    this.#state = 'unregistering'
    const failures: unknown[] = []
    for (const borne of this.#mdevs.values()) {
      try {
        const waiting = borne.mdev.state === 'active' ? this.#remove(borne, force) : borne.gone
        if (waiting !== undefined) await waiting
      } catch (error) {
        failures.push(error)
      }
    }
    this.#state = 'unregistered'
    announce(this.#options.events, this.#options.log, 'unregistered', this)
    if (failures.length > 0) throw failures[0]
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
    if (this.#state !== 'registered') {
      throw new ErrnoError('ENODEV', `parent ${this.name}: ${this.#state}`)
    }
  }

  #borne(uuid: string): Borne {
    const borne = this.#mdevs.get(parseUuid(uuid))
    if (borne === undefined)
      throw new ErrnoError('ENOENT', `mdev ${uuid}: not on parent ${this.name}`)
    return borne
  }

  #type(typeName: string): TypeInfo {
    const prefix = `${this.driver.name}-`
    const id = typeName.startsWith(prefix) ? typeName.slice(prefix.length) : ''
    const type = Object.hasOwn(this.driver.types, id) ? this.driver.types[id] : undefined
    if (type === undefined) {
      const offered = this.types.map(({ name }) => name).join(', ')
      throw new ErrnoError('ENOENT', `type ${typeName}: parent ${this.name} offers ${offered}`)
    }
    return type
  }

  /** @throws nothing: a driver that cannot count has no instance left */
  #available(type: TypeInfo): number {
    const { maxInstances } = this.driver
    if (maxInstances !== undefined) return Math.max(0, maxInstances - this.#mdevs.size)
    if (this.driver.available === undefined) return UNLIMITED
    try {
      const handles = this.mdevs.map(({ handle }) => handle)
      const count = Math.floor(this.driver.available(type, handles)) || 0
      return Math.min(Math.max(0, count), UNLIMITED)
    } catch (error) {
      this.#options.log.error("driver's available", error)
      return 0
    }
  }
}
