/** The types of one parent, and how many mdevs of each it has room for. */
import { ErrnoError } from '../lib/errno.ts'
import type { Driver, Mdev, TypeInfo } from './driver.ts'
import type { DriverSide } from './driver-side.ts'

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

export interface OfferedTypesOptions {
  /** The parent's name. */
  readonly parent: string
  readonly driver: Driver
  readonly side: DriverSide
  /** What the parent bears now. */
  readonly handles: () => readonly Mdev[]
  /** @throws ENODEV the parent is not registered */
  readonly mustBeRegistered: () => void
}

export class OfferedTypes {
  readonly #options: OfferedTypesOptions

  constructor(options: OfferedTypesOptions) {
    this.#options = options
  }

  get all(): readonly OfferedType[] {
    const { driver, side } = this.#options
    return Object.entries(driver.types).map(([id, info]) => ({
      name: `${driver.name}-${id}`,
      info,
      availableInstances: this.#available(info),
      deviceApi: 'vfio-pci',
      status: side.typeStatus(info),
    }))
  }

  /** The type of that name, or that had it in an earlier version. @throws ENOENT */
  find(typeName: string): { readonly name: string; readonly info: TypeInfo } {
    const { name: driver, types } = this.#options.driver
    const id = typeName.startsWith(`${driver}-`) ? typeName.slice(driver.length + 1) : ''
    for (const [own, info] of Object.entries(types)) {
      if (own === id || info.aliases?.includes(id) === true)
        return { name: `${driver}-${own}`, info }
    }
    const offered = this.all.map(({ name }) => name).join(', ')
    const { parent } = this.#options
    throw new ErrnoError('ENOENT', `type ${typeName}: parent ${parent} offers ${offered}`)
  }

  /**
   * In the kernel's order: its core's counter comes before all else, the driver's own count last.
   *
   * @throws EUSERS, ENOSPC no instance left · ENODEV
   */
  mustHaveRoom(typeName: string, type: TypeInfo): void {
    const { driver, parent, mustBeRegistered } = this.#options
    const left = this.#available(type)
    const counted = driver.maxInstances !== undefined
    if (!counted) mustBeRegistered()
    if (left <= 0) {
      throw new ErrnoError(
        counted ? 'EUSERS' : 'ENOSPC',
        `type ${typeName}: no instance left on parent ${parent}`,
      )
    }
    mustBeRegistered()
  }

  #available(type: TypeInfo): number {
    return this.#options.side.available(type, this.#options.handles())
  }
}
