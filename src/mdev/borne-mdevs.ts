/** The mdevs that one parent bears, and the ways in which each comes to its end. */
import type { Clock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { Unwind } from '../lib/unwind.ts'
import { parseUuid } from '../lib/uuid.ts'
import { inTime } from '../lib/within.ts'
import { announce, type Events } from './events.ts'
import type { MdevDevice } from './mdev.ts'
import { PROBE_MS } from './mdev-changes.ts'

export interface BorneMdevsOptions {
  /** The parent's name. */
  readonly parent: string
  readonly events: Events
  readonly log: Logger
  readonly clock: Clock
}

export interface Borne {
  readonly mdev: MdevDevice
  /** Takes everything back that its creation has done. */
  readonly release: Unwind
  /** Resolves when it is no more. */
  readonly gone: Promise<void>
}

export class BorneMdevs {
  readonly #options: BorneMdevsOptions
  readonly #borne = new Map<string, Borne>()

  constructor(options: BorneMdevsOptions) {
    this.#options = options
  }

  /** In the order of their creation. */
  get all(): readonly MdevDevice[] {
    return [...this.#borne.values()].map(({ mdev }) => mdev)
  }

  /** @throws ENOENT no such mdev here */
  get(uuid: string): Borne {
    const borne = this.#borne.get(parseUuid(uuid))
    if (borne === undefined)
      throw new ErrnoError('ENOENT', `mdev ${uuid}: not on parent ${this.#options.parent}`)
    return borne
  }

  /** Lists an mdev from now on, until `release` is disposed of. */
  add(mdev: MdevDevice, release: Unwind): void {
    const { events, log } = this.#options
    const gone = new Promise<void>((resolve) => release.defer(resolve))
    this.#borne.set(mdev.uuid, { mdev, release, gone })
    release.defer(() => {
      this.#borne.delete(mdev.uuid)
      announce(events, log, 'remove', mdev)
    })
    announce(events, log, 'add', mdev)
  }

  /**
   * Removes an mdev.
   *
   * @param force takes it away from a client, who else is waited for
   * @returns nothing where it is gone already, else a promise of it
   * @throws EAGAIN it is being created, or removed already
   */
  remove(borne: Borne, force: boolean): void | Promise<void> {
    const { mdev } = borne
    const { events, log, clock } = this.#options
    mdev.beginRemoval()
    if (force) mdev.evict()
    const waiting =
      mdev.rebuilt ?? (force || mdev.user === undefined ? undefined : mdev.drained(clock))
    if (waiting !== undefined) {
      announce(events, log, 'removing', mdev)
      return waiting.then(() => this.#finish(borne))
    }
    this.#finish(borne)
  }

  #finish({ mdev, release }: Borne): void {
    announce(this.#options.events, this.#options.log, 'unbind', mdev)
    release[Symbol.dispose]()
  }

  /** Takes all away from their clients. */
  evictAll(): void {
    for (const { mdev } of this.#borne.values()) mdev.evict()
  }

  /** What ends each, oldest first, because their parent goes; as {@link remove}, but for one that is being built or removed. */
  *endings(): Iterable<(force: boolean) => void | Promise<void>> {
    for (const borne of this.#borne.values()) yield (force) => this.#end(borne, force)
  }

  /** Removed now, or when a driver that builds it has built it, if it ever has. */
  #end(borne: Borne, force: boolean): void | Promise<void> {
    const { mdev, gone } = borne
    const isBuilding = mdev.state === 'creating' || mdev.rebuilt !== undefined
    const removal = mdev.state === 'active' ? this.remove(borne, force) : gone
    if (removal === undefined || !isBuilding) return removal
    return inTime(removal, `mdev ${mdev.uuid}: probe`, PROBE_MS, this.#options.clock)
  }
}
