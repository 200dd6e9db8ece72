/** A parent: what is sliced. It offers its driver's types and bears mdevs, created and removed by UUID. */
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { parseUuid } from '../lib/uuid.ts'
import { parseAttributes } from './attribute.ts'
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

interface Borne {
  readonly mdev: MdevDevice
  readonly release: Unwind
}

export class Parent {
  readonly name: string
  readonly driver: Driver
  readonly #options: ParentOptions
  readonly #mdevs = new Map<string, Borne>()
  #state: 'registered' | 'unregistering' | 'unregistered' = 'registered'

  constructor(options: ParentOptions) {
    this.name = options.name
    this.driver = options.driver
    this.#options = options
    announce(options.events, options.log, 'registered', this)
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
   * @param typeName   such as `mtty-2`
   * @param uuid       in either case; the mdev is named by its lower-case form
   * @param attributes settings as text, by name; defaults for the rest
   * @throws ENOENT no such type or attribute · EINVAL no uuid, or a bad value · EEXIST the uuid is in use on this machine ·
   *         ENOSPC no instance left · ENODEV the parent is unregistering · what `probe` throws
   */
  async create(
    typeName: string,
    uuid: string,
    attributes: Readonly<Record<string, string>> = {},
  ): Promise<MdevDevice> {
    const { claims, events, log, bus } = this.#options
    const type = this.#type(typeName)
    const name = parseUuid(uuid)
    const values = parseAttributes(this.driver.attributes ?? {}, attributes)
    const undo = new Unwind()
    try {
      const directory = claims.claimUuid(name)
      undo.defer(() => directory.release())
      if (this.#available(type) <= 0) {
        throw new ErrnoError('ENOSPC', `type ${typeName}: no instance left on parent ${this.name}`)
      }
      this.#mustBeRegistered()
      const group = claims.claimGroup()
      undo.defer(() => group.release())
      const mdev = new MdevDevice({
        uuid: name,
        typeName,
        type,
        attributes: values,
        group: new Group(group.value),
        directory: directory.value,
        log: log.child(name),
        events,
      })
      this.#mdevs.set(name, { mdev, release: undo })
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

  /**
   * Removes an mdev.
   *
   * @param options `force` takes it away from a client that uses it
   * @throws ENOENT not here · EBUSY a client uses it · EAGAIN it is being created or removed
   */
  remove(uuid: string, { force = false }: { readonly force?: boolean } = {}): void {
    const { mdev, release } = this.#borne(uuid)
    mdev.beginRemoval(force)
    announce(this.#options.events, this.#options.log, 'unbind', mdev)
    release[Symbol.dispose]()
  }

  /**
   * Removes all mdevs, oldest first and from their clients too, and offers nothing more. Idempotent.
   *
   * @throws the first error of a removal, after all of them
   */
  unregister(): void {
    if (this.#state !== 'registered') return
    this.#state = 'unregistering'
    try {
      using removals = new Unwind()
      for (const mdev of this.mdevs.toReversed()) {
        removals.defer(() => {
          if (mdev.state === 'active') this.remove(mdev.uuid, { force: true })
        })
      }
    } finally {
      this.#state = 'unregistered'
      announce(this.#options.events, this.#options.log, 'unregistered', this)
    }
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
