/** A parent: what is sliced. It offers its driver's types and bears mdevs, created and removed by UUID. */
import { type Clock, systemClock } from '../lib/clock.ts'
import { inTime } from '../lib/within.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { AttributeTexts } from './attribute.ts'
import { BorneMdevs } from './borne-mdevs.ts'
import type { BusDriver } from './bus-driver.ts'
import type { Claims } from './claims.ts'
import type { Driver } from './driver.ts'
import { DriverSide } from './driver-side.ts'
import { announce, type Events } from './events.ts'
import { describeHolders } from './holders.ts'
import type { MdevDevice } from './mdev.ts'
import { PROBE_MS } from './mdev-changes.ts'
import { MdevCreations } from './mdev-creations.ts'
import { type OfferedType, OfferedTypes } from './offered-types.ts'

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

export interface RemoveOptions {
  /** Takes it away from a client that uses it. */
  readonly force?: boolean
  /** Asks a client that uses it to let go, and waits. */
  readonly wait?: boolean
}

export interface UnregisterOptions {
  /** Takes mdevs from their clients. */
  readonly force?: boolean
  /** Asks clients to let go, and waits for them; unless false. */
  readonly wait?: boolean
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
  readonly #mdevs: BorneMdevs
  readonly #types: OfferedTypes
  readonly #creations: MdevCreations
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
    this.#mdevs = new BorneMdevs({ parent: name, events: options.events, log, clock })
    this.#types = new OfferedTypes({
      parent: name,
      driver,
      side: this.#side,
      handles: () => this.mdevs.map(({ handle }) => handle),
      mustBeRegistered: () => this.#mustBeRegistered(),
    })
    this.#creations = new MdevCreations({
      ...options,
      clock,
      side: this.#side,
      types: this.#types,
      mdevs: this.#mdevs,
      mustBeRegistered: () => this.#mustBeRegistered(),
      onBroken: (uuid) => this.#removeBroken(uuid),
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
    return this.#mdevs.all
  }

  get types(): readonly OfferedType[] {
    return this.#types.all
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
    return this.#mdevs.get(uuid).mdev
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
    const creation = this.#creations.create(typeName, uuid, texts)
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
    const borne = this.#mdevs.get(uuid)
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
    await this.#mdevs.remove(borne, options.force === true)
  }

  /**
   * Removes all mdevs, oldest first, and offers nothing more. It cannot be called off; called again it waits for the same
   * end, and with `force` hastens it.
   *
   * @param options `force` takes mdevs from their clients; else each client in turn is asked, and waited for. With it, all is
   *                done when this returns, but for what a `probe` is still building, and a driver's `close` that takes time:
   *                neither is waited for for ever
   * @throws the first error of a removal, after all of them · EBUSY a client uses an mdev, and is not to be waited for: then
   *         nothing has changed
   */
  async unregister({ force = false, wait = true }: UnregisterOptions = {}): Promise<void> {
    if (!force && !wait) this.#mustBeUnused()
    this.#forced ||= force
    this.#unregistration ??= this.#unregister()
    if (force) this.#mdevs.evictAll()
    return this.#unregistration
  }

  async #unregister(): Promise<void> {
    const before = this.#state
    this.#state = 'unregistering'
    if (before === 'registered')
      announce(this.#options.events, this.#options.log, 'unregistering', this)
    if (before === 'registering') await this.registered.catch(() => {}) // it opens for so long at most
    const failures: unknown[] = []
    for (const end of this.#mdevs.endings()) {
      try {
        const waiting = end(this.#forced)
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

  /** @throws EBUSY */
  #mustBeUnused(): void {
    const holders = describeHolders(
      this.mdevs.map(({ uuid, user }) =>
        user === undefined ? { uuid } : { uuid, client: user.description },
      ),
    )
    if (holders !== '') throw new ErrnoError('EBUSY', `parent ${this.name}: ${holders}`)
  }

  /** @throws ENODEV */
  #mustBeRegistered(): void {
    if (this.#state !== 'registered') throw this.#notRegistered()
  }

  #notRegistered(): ErrnoError {
    return new ErrnoError('ENODEV', `parent ${this.name}: ${this.#state}`)
  }
}
