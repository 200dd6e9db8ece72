/** Regions as a client sees them: windows accessed at any offset and length, split for the registers behind them. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import * as vfio from '../abi/vfio.ts'
import type { Registers, Width } from './registers.ts'

/** One region of a device. An absent one has size 0. */
export class DeviceRegion {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number
  readonly #registers: Registers
  readonly #maxWidth: Width

  constructor(
    name: string,
    size: number,
    flags: number,
    registers: Registers,
    maxWidth: Width = 4,
  ) {
    this.name = name
    this.size = size
    this.flags = flags
    this.#registers = registers
    this.#maxWidth = maxWidth
  }

  static absent(name: string): DeviceRegion {
    return new DeviceRegion(name, 0, 0, NO_REGISTERS)
  }

  /**
   * Reads `count` bytes at `offset` into `target`, from byte `at` on.
   *
   * @throws EINVAL out of bounds, or a region that cannot be read
   */
  read(target: DataView, at: number, offset: number, count: number): void {
    this.#check(offset, count, vfio.VFIO_REGION_INFO_FLAG_READ)
    const registers = this.#registers
    for (let done = 0; done < count;) {
      const width = this.#widthAt(offset + done, count - done)
      const value = registers.read(offset + done, width)
      if (width === 4) target.setUint32(at + done, value, true)
      else if (width === 2) target.setUint16(at + done, value, true)
      else target.setUint8(at + done, value)
      done += width
    }
  }

  /**
   * Writes `count` bytes of `source`, from byte `at` on, to `offset`.
   *
   * @throws EINVAL out of bounds, or a region that cannot be written
   */
  write(source: DataView, at: number, offset: number, count: number): void {
    this.#check(offset, count, vfio.VFIO_REGION_INFO_FLAG_WRITE)
    const registers = this.#registers
    for (let done = 0; done < count;) {
      const width = this.#widthAt(offset + done, count - done)
      let value: number
      if (width === 4) value = source.getUint32(at + done, true)
      else if (width === 2) value = source.getUint16(at + done, true)
      else value = source.getUint8(at + done)
      registers.write(offset + done, value, width)
      done += width
    }
  }

  /** The widest naturally aligned access at `offset` that stays within `left` bytes. */
  #widthAt(offset: number, left: number): Width {
    if (this.#maxWidth === 4 && left >= 4 && (offset & 3) === 0) return 4
    if (this.#maxWidth >= 2 && left >= 2 && (offset & 1) === 0) return 2
    return 1
  }

  #check(offset: number, count: number, right: number): void {
    if (count > this.size || offset > this.size - count) {
      throw new ErrnoError(
        'EINVAL',
        `${this.name}: ${count} bytes at ${hex(offset)} of ${hex(this.size)}`,
      )
    }
    if ((this.flags & right) === 0) {
      const verb = right === vfio.VFIO_REGION_INFO_FLAG_READ ? 'read' : 'written'
      throw new ErrnoError('EINVAL', `${this.name}: cannot be ${verb}`)
    }
  }
}

const NO_REGISTERS: Registers = { read: () => 0, write: () => {} }
