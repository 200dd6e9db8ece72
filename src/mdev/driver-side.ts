/** The driver's side of a parent: opened once, then asked with what it opened. What it does wrong goes no further. */
import { inspect } from 'node:util'
import type { Clock } from '../lib/clock.ts'
import { inTime } from '../lib/within.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { isPromise } from '../lib/promise.ts'
import {
  type Attributes,
  type AttributeTexts,
  mergeTexts,
  parseAttributes,
  showAttributes,
} from './attribute.ts'
import type { DeviceOps, Driver, Mdev, ParentHandle, TypeInfo } from './driver.ts'
import { Faults } from './faults.ts'
import { checkStatus, type Status } from './status.ts'
import type { GroupHooks } from './told-driver.ts'

/** Less than a host may take to come up: it is to say why it does not. */
const OPEN_MS = 20_000
const CLOSE_MS = 10_000
const CHANGE_MS = 10_000

/** What sysfs shows where a driver sets no limit: the largest unsigned int. */
const UNLIMITED = 2 ** 32 - 1

export interface DriverSideOptions {
  /** The parent's name. */
  readonly name: string
  readonly driver: Driver
  /** What is wanted of the parent's settings. */
  readonly texts: AttributeTexts
  readonly log: Logger
  readonly clock: Clock
  /** Called when settings have changed. */
  readonly onChange: () => void
}

export class DriverSide {
  readonly #options: DriverSideOptions
  readonly #declared: Attributes
  readonly #faults: Faults
  #texts: AttributeTexts
  #values: Readonly<Record<string, unknown>>
  #shared: unknown
  /** Whether what it shares is there: it is asked for nothing before and after that. */
  #isOpen = false
  #changing = false

  /** @throws ENOENT, EINVAL a setting that is not known, has a bad value, or is missing */
  constructor(options: DriverSideOptions) {
    this.#options = options
    this.#faults = new Faults(options.log)
    this.#declared = options.driver.parentAttributes ?? {}
    this.#texts = options.texts
    this.#values = parseAttributes(this.#declared, options.texts)
  }

  /** Of the driver. */
  get name(): string {
    return this.#options.driver.name
  }

  /** The parent's settings that were written, in their order. */
  get texts(): AttributeTexts {
    return this.#texts
  }

  /** How all of the parent's settings read. */
  get values(): Readonly<Record<string, string>> {
    const show = () => showAttributes(this.#declared, this.#values)
    return this.#faults.ask('parentAttributes', {}, show, (shown) => shown as Status)
  }

  /**
   * Lets the driver open what its mdevs are to share.
   *
   * @returns nothing where that is done, else a promise of it
   * @throws what `open` throws · ETIMEDOUT; what it opens later is closed
   */
  open(): void | Promise<void> {
    const { driver, clock } = this.#options
    const opened = driver.open?.(this.#handle())
    if (!isPromise(opened)) {
      this.#share(opened)
      return
    }
    let late = false
    opened.then(
      (shared) => {
        if (late) void this.#close(shared)
      },
      () => {}, // whoever waits for it hears of it
    )
    return inTime(opened, `driver ${driver.name}: open`, OPEN_MS, clock).then(
      (shared) => this.#share(shared),
      (error: unknown) => {
        late = true
        throw error
      },
    )
  }

  #share(shared: unknown): void {
    this.#shared = shared
    this.#isOpen = true
  }

  /** Lets the driver close what it opened. @returns nothing where that is done, else a promise of it, never rejected */
  close(): void | Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    return this.#close(this.#shared)
  }

  #close(shared: unknown): void | Promise<void> {
    const { driver, clock } = this.#options
    const failed = (error: unknown) => this.#faults.note('close', error)
    try {
      const closing = driver.close?.(shared)
      if (isPromise(closing))
        return inTime(closing, `driver ${driver.name}: close`, CLOSE_MS, clock).catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  probe(mdev: Mdev): DeviceOps | Promise<DeviceOps> {
    return this.#options.driver.probe(mdev, this.#shared)
  }

  /** What the driver does about groups; nothing where it does not care. */
  get groupHooks(): GroupHooks | undefined {
    const { driver } = this.#options
    if (driver.groupOpen === undefined && driver.groupClose === undefined) return undefined
    return {
      groupOpen: (group) => driver.groupOpen?.(group, this.#shared),
      groupClose: (group) => driver.groupClose?.(group, this.#shared),
      failed: (what, error) => this.#faults.note(what, error),
    }
  }

  /** @throws nothing: a driver that cannot count has no instance left */
  available(type: TypeInfo, mdevs: readonly Mdev[]): number {
    const { maxInstances } = this.#options.driver
    if (maxInstances !== undefined) return Math.max(0, maxInstances - mdevs.length)
    const count = this.#asked('available', checkCount, 0, (driver) =>
      driver.available === undefined ? UNLIMITED : driver.available(type, mdevs, this.#shared),
    )
    return Math.min(Math.max(0, Math.floor(count)), UNLIMITED)
  }

  /** What the driver shows of the parent. One that throws shows nothing. */
  status(): Status {
    return this.#asked('parentStatus', checkStatus, {}, (driver) =>
      driver.parentStatus?.(this.#shared),
    )
  }

  /** What the driver shows of a type. One that throws shows nothing. */
  typeStatus(type: TypeInfo): Status {
    return this.#asked('typeStatus', checkStatus, {}, (driver) =>
      driver.typeStatus?.(type, this.#shared),
    )
  }

  /** Which functions of the driver failed when last called, and how. */
  get faults(): readonly string[] {
    return this.#faults.texts
  }

  /** What it did wrong where nobody called it. The same in a row is logged once: a timer comes again. */
  noteStray(error: unknown): void {
    this.#faults.noteOnce('timer or promise', error)
  }

  /**
   * Changes settings of the parent: all of them, or none.
   *
   * @throws ENOENT no such setting · EINVAL a bad value · EOPNOTSUPP one takes effect only when the parent is next registered ·
   *         EBUSY another change is under way · ETIMEDOUT the driver takes too long; what comes of it holds · what it says
   */
  async change(texts: AttributeTexts): Promise<void> {
    const { name, clock } = this.#options
    const next = parseAttributes(this.#declared, texts, this.#values)
    const fixed = texts.find(([setting]) => this.#declared[setting]?.change !== 'live')?.[0]
    if (fixed !== undefined) {
      const when = 'takes effect only when the parent is next registered'
      throw new ErrnoError('EOPNOTSUPP', `attribute ${fixed}: ${when}`)
    }
    if (this.#changing) throw new ErrnoError('EBUSY', `parent ${name}: settings are changing`)
    this.#changing = true
    await inTime(
      this.#change(texts, next),
      `parent ${name}: change of its settings`,
      CHANGE_MS,
      clock,
    )
  }

  async #change(texts: AttributeTexts, next: Readonly<Record<string, unknown>>): Promise<void> {
    const { driver, onChange } = this.#options
    try {
      await driver.changeParentAttributes?.(next, this.#shared)
      this.#values = next
      this.#texts = mergeTexts(this.#texts, texts)
    } finally {
      this.#changing = false
    }
    onChange()
  }

  #handle(): ParentHandle {
    const { name, log } = this.#options
    const values = () => this.#values
    return {
      name,
      get attributes() {
        return values()
      },
      log,
    }
  }

  /** What the driver answers: `otherwise` where it fails, and where what it shares is not there. */
  #asked<R>(
    what: string,
    check: (given: unknown) => R,
    otherwise: R,
    ask: (driver: Driver) => unknown,
  ): R {
    if (!this.#isOpen) return otherwise
    return this.#faults.ask(what, otherwise, () => ask(this.#options.driver), check)
  }
}

/** @throws EINVAL it is no number */
function checkCount(count: unknown): number {
  if (typeof count === 'number' && !Number.isNaN(count)) return count
  throw new ErrnoError('EINVAL', `gives ${inspect(count)}, no number`)
}
