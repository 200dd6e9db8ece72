/** Regions as a client sees them: windows accessed at any offset and length, split for the registers behind them. */
import { inspect } from 'node:util'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { isPromise } from '../lib/promise.ts'
import * as vfio from '../abi/vfio.ts'
import { type Doorbell, DoorbellRegisters } from './doorbell.ts'
import { readPart, type RegionMemory, writePart } from './region-memory.ts'
import type { Registers, Width } from './registers.ts'

/** What a region of the device's own is, for clients that look for it. */
export interface RegionType {
  readonly type: number
  readonly subtype: number
}

/** One region of a device. An absent one has size 0. */
export class DeviceRegion {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** VFIO_REGION_INFO_FLAG_*. */
  readonly flags: number
  /** What of it is memory, if any is. */
  readonly memory: RegionMemory | undefined
  readonly type: RegionType | undefined
  readonly #doorbells: Doorbell[] = []
  readonly #maxWidth: Width
  #registers: Registers
  #doorbellRegisters: DoorbellRegisters | undefined
  #msix: { readonly start: number; readonly end: number } | undefined

  constructor(
    name: string,
    size: number,
    flags: number,
    registers: Registers,
    maxWidth: Width = 4,
    { memory, type }: { readonly memory?: RegionMemory; readonly type?: RegionType } = {},
  ) {
    this.name = name
    this.size = size
    this.flags = flags
    this.memory = memory
    this.type = type
    this.#registers = registers
    this.#maxWidth = maxWidth
  }

  static absent(name: string): DeviceRegion {
    return new DeviceRegion(name, 0, 0, NO_REGISTERS)
  }

  get doorbells(): readonly Doorbell[] {
    return this.#doorbells
  }

  /** Whether the MSI-X table is among its registers. */
  get holdsMsix(): boolean {
    return this.#msix !== undefined
  }

  /** Makes a register a doorbell. @throws EINVAL outside, unaligned, or too wide · EEXIST there is one already */
  addDoorbell(doorbell: Doorbell): void {
    const { offset, width } = doorbell
    const what = `${this.name}: doorbell of ${width} bytes at ${hex(offset)}`
    if (![1, 2, 4].includes(width) || width > this.#maxWidth) {
      throw new ErrnoError('EINVAL', `${what}: accesses are 1 to ${this.#maxWidth} bytes wide`)
    }
    const isInside = Number.isInteger(offset) && offset >= 0 && offset <= this.size - width
    if (!isInside || offset % width !== 0)
      throw new ErrnoError('EINVAL', `${what}: outside of ${hex(this.size)}, or unaligned`)
    const taken = this.#doorbells.find((other) =>
      overlaps(offset, width, other.offset, other.offset + other.width),
    )
    if (taken !== undefined)
      throw new ErrnoError('EEXIST', `${what}: there is one at ${hex(taken.offset)}`)
    if (this.#msix !== undefined && overlaps(offset, width, this.#msix.start, this.#msix.end))
      throw new ErrnoError('EEXIST', `${what}: MSI-X is there`)
    this.memory?.exclude(offset, width)
    if (this.#doorbellRegisters === undefined) {
      this.#doorbellRegisters = new DoorbellRegisters(this.#registers)
      this.#registers = this.#doorbellRegisters
    }
    this.#doorbellRegisters.add(doorbell)
    this.#doorbells.push(doorbell)
  }

  /** Puts the registers of MSI-X in front of what is there. @throws EINVAL outside · EEXIST where a doorbell is */
  addMsix(offset: number, size: number, table: Registers): void {
    const what = `${this.name}: msix of ${hex(size)} at ${hex(offset)}`
    if (!Number.isInteger(offset) || offset < 0 || offset > this.size - size)
      throw new ErrnoError('EINVAL', `${what}: outside of ${hex(this.size)}`)
    if (this.#doorbells.some((each) => overlaps(each.offset, each.width, offset, offset + size)))
      throw new ErrnoError('EEXIST', `${what}: a doorbell is there`)
    this.memory?.exclude(offset, size)
    this.#registers = overlay(this.#registers, offset, size, table)
    this.#msix = { start: offset, end: offset + size }
  }

  /**
   * Reads `count` bytes at `offset` into `target`, from byte `at` on.
   *
   * @throws EINVAL out of bounds, or a region that cannot be read
   */
  read(target: DataView, at: number, offset: number, count: number): void {
    this.#check(offset, count, vfio.VFIO_REGION_INFO_FLAG_READ)
    if (this.memory === undefined) this.#readRegisters(target, at, offset, count)
    else this.#readParts(this.memory, target, at, offset, count)
  }

  #readRegisters(target: DataView, at: number, offset: number, count: number): void {
    const registers = this.#registers
    for (let done = 0; done < count;) {
      const width = this.#widthAt(offset + done, count - done)
      const value = registers.read(offset + done, width)
      if (typeof value !== 'number' && value !== undefined)
        throw this.#noNumber(value, offset + done)
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
    if (this.memory === undefined) this.#writeRegisters(source, at, offset, count)
    else this.#writeParts(this.memory, source, at, offset, count)
  }

  #writeRegisters(source: DataView, at: number, offset: number, count: number): void {
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

  /** In JavaScript a driver may give anything, and an asynchronous `read` is an easy mistake. */
  #noNumber(value: unknown, offset: number): TypeError {
    let given = inspect(value)
    if (isPromise(value)) {
      value.then(undefined, () => {}) // its failure is nobody's
      given = 'a promise'
    }
    return new TypeError(`${this.name}: read(${hex(offset)}) returned ${given}, not a number`)
  }

  #readParts(
    memory: RegionMemory,
    target: DataView,
    at: number,
    offset: number,
    count: number,
  ): void {
    for (let done = 0; done < count;) {
      const start = offset + done
      const part = memory.partAt(start)
      const length = Math.min(count - done, part.end - start)
      if (part.memory === undefined) this.#readRegisters(target, at + done, start, length)
      else readPart(part, start, target, at + done, length)
      done += length
    }
  }

  #writeParts(
    memory: RegionMemory,
    source: DataView,
    at: number,
    offset: number,
    count: number,
  ): void {
    for (let done = 0; done < count;) {
      const start = offset + done
      const part = memory.partAt(start)
      const length = Math.min(count - done, part.end - start)
      if (part.memory === undefined) this.#writeRegisters(source, at + done, start, length)
      else writePart(part, start, source, at + done, length)
      done += length
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

/** Registers that read 0 and ignore writes. */
export const NO_REGISTERS: Registers = { read: () => 0, write: () => {} }

function overlaps(offset: number, size: number, start: number, end: number): boolean {
  return offset < end && start < offset + size
}

/** `front` from `start` on, `size` bytes of it, and `back` everywhere else. */
function overlay(back: Registers, start: number, size: number, front: Registers): Registers {
  const covers = (offset: number) => offset >= start && offset < start + size
  return {
    read: (offset, width) =>
      covers(offset) ? front.read(offset - start, width) : back.read(offset, width),
    write(offset, value, width) {
      if (covers(offset)) front.write(offset - start, value, width)
      else back.write(offset, value, width)
    },
  }
}
