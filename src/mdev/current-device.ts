/** What is built of an mdev now; where settings ask for it, it is built anew, in place of what was there. */
import type { Logger } from '../lib/log.ts'
import type { BuiltDevice } from './built-device.ts'
import type { MdevLife } from './mdev-life.ts'
import type { MdevSettings, Values } from './mdev-settings.ts'

export interface CurrentDeviceOptions {
  readonly life: MdevLife
  readonly settings: MdevSettings
  readonly log: Logger
  /** A device that its driver has not built yet. */
  readonly notBuilt: () => BuiltDevice
  /** Called when it was to be built anew, and could not be: the mdev is to be removed. */
  readonly onBroken: () => void
}

export class CurrentDevice {
  readonly #options: CurrentDeviceOptions
  #built: BuiltDevice
  /** While it is being built anew; never rejected. */
  #rebuilding: Promise<void> | undefined

  constructor(options: CurrentDeviceOptions) {
    this.#options = options
    this.#built = options.notBuilt()
  }

  get built(): BuiltDevice {
    return this.#built
  }

  /** Resolves when it is not being built anew any more; undefined where it is not. */
  get rebuilt(): Promise<void> | undefined {
    return this.#rebuilding
  }

  /**
   * Builds it anew, with other settings. If that fails it is built as it was; if that fails too, the mdev is broken.
   *
   * @throws what `probe` throws · EAGAIN the mdev has been removed meanwhile
   */
  async rebuild(next: Values): Promise<void> {
    const work = this.#buildAnew(next)
    this.#rebuilding = work.catch(() => {}) // whoever waits for its end does not care how it ends
    try {
      await work
    } finally {
      this.#rebuilding = undefined
    }
  }

  async #buildAnew(next: Values): Promise<void> {
    const { settings, life, log, onBroken } = this.#options
    const before = settings.values
    try {
      await this.#buildWith(next)
    } catch (error) {
      life.mustBeActive()
      try {
        await this.#buildWith(before)
      } catch (failure) {
        log.error('removed: it could not be changed, nor built as it was', failure)
        onBroken()
      }
      throw error
    }
  }

  /** The old device goes first: the new one may need what it has. */
  async #buildWith(values: Values): Promise<void> {
    this.#built.remove()
    this.#options.settings.values = values
    this.#built = this.#options.notBuilt()
    await this.#built.probe()
  }
}
