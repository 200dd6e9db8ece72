/**
 * PCI configuration space: bytes with a mask of what the guest may write, a mask of what it clears by writing 1, and
 * watchers of the few registers whose change means something.
 */
import * as pci from '../abi/pci.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import type { Registers, Width } from './registers.ts'

interface Watcher {
  readonly start: number
  readonly end: number
  readonly onWrite: () => void
}

export class ConfigSpace implements Registers {
  bytes: Uint8Array
  view: DataView
  #writable: Uint8Array
  #clearedByOne: Uint8Array
  readonly #watchers: Watcher[] = []
  #powerOn: Uint8Array | undefined
  #nextCapability = pci.PCI_STD_HEADER_SIZEOF
  #lastPointer = pci.PCI_CAPABILITY_LIST

  /** @param size PCI_CFG_SPACE_SIZE, or PCI_CFG_SPACE_EXP_SIZE for PCI Express */
  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.view = dataViewOf(this.bytes)
    this.#writable = new Uint8Array(size)
    this.#clearedByOne = new Uint8Array(size)
  }

  get size(): number {
    return this.bytes.length
  }

  /** Makes room for the extended space of PCI Express; what is there stays. */
  grow(size: number): void {
    this.bytes = enlarged(this.bytes, size)
    this.view = dataViewOf(this.bytes)
    this.#writable = enlarged(this.#writable, size)
    this.#clearedByOne = enlarged(this.#clearedByOne, size)
  }

  /** Lets the guest write the bits of `mask` in the register of `width` bytes at `offset`. */
  allowWrites(offset: number, width: Width, mask: number): void {
    setBits(this.#writable, offset, width, mask)
  }

  /** Makes the bits of `mask` in that register clear when the guest writes 1 to them. */
  clearByOne(offset: number, width: Width, mask: number): void {
    setBits(this.#clearedByOne, offset, width, mask)
  }

  /** Calls `onWrite` after a guest's write that touched any of `length` bytes at `offset`. */
  watch(offset: number, length: number, onWrite: () => void): void {
    this.#watchers.push({ start: offset, end: offset + length, onWrite })
  }

  /**
   * Appends a capability of `size` bytes to the list.
   *
   * @returns its offset; id and next pointer are filled in, the rest is the caller's to write
   * @throws ENOSPC the 192 bytes for capabilities are used up
   */
  addCapability(id: number, size: number): number {
    const offset = this.#nextCapability
    if (offset + size > pci.PCI_CFG_SPACE_SIZE) {
      throw new ErrnoError('ENOSPC', `capability ${hex(id)} of ${size} bytes: config space is full`)
    }
    this.bytes[this.#lastPointer] = offset
    this.bytes[offset + pci.PCI_CAP_LIST_ID] = id
    this.#lastPointer = offset + pci.PCI_CAP_LIST_NEXT
    this.#nextCapability = Math.ceil((offset + size) / 4) * 4
    const status = this.view.getUint16(pci.PCI_STATUS, true)
    this.view.setUint16(pci.PCI_STATUS, status | pci.PCI_STATUS_CAP_LIST, true)
    return offset
  }

  /** What it holds now is the power-on state, to which {@link reset} goes back. */
  seal(): void {
    this.#powerOn = this.bytes.slice()
  }

  reset(): void {
    if (this.#powerOn !== undefined) this.bytes.set(this.#powerOn)
  }

  /** What the guest can change, and the power-on state of all else. */
  save(): Uint8Array {
    return this.bytes.map((byte, at) => {
      const mutable = this.#mutable(at)
      return (byte & mutable) | ((this.#powerOn?.[at] ?? 0) & ~mutable)
    })
  }

  /** Whether `saved` is of a function like this one. @throws EINVAL what a guest cannot change differs */
  check(saved: Uint8Array): void {
    const at = saved.findIndex(
      (byte, at) => ((byte ^ (this.#powerOn?.[at] ?? 0)) & ~this.#mutable(at)) !== 0,
    )
    if (at >= 0 || saved.length !== this.size)
      throw new ErrnoError('EINVAL', `config space: at ${hex(Math.max(at, 0))} of another device`)
  }

  /** Takes over what {@link check} has let pass, in the power-on state. */
  load(saved: Uint8Array): void {
    for (const [at, byte] of saved.entries()) {
      const mutable = this.#mutable(at)
      this.bytes[at] = ((this.bytes[at] ?? 0) & ~mutable) | (byte & mutable)
    }
    for (const { onWrite } of this.#watchers) onWrite()
  }

  #mutable(at: number): number {
    return (this.#writable[at] ?? 0) | (this.#clearedByOne[at] ?? 0)
  }

  read(offset: number, width: Width): number {
    if (width === 4) return this.view.getUint32(offset, true)
    if (width === 2) return this.view.getUint16(offset, true)
    return this.view.getUint8(offset)
  }

  /** A guest's write: Command and Status, say, share an access, so every byte has masks of its own. */
  write(offset: number, value: number, width: Width): void {
    for (let i = 0; i < width; i++) {
      const at = offset + i
      const written = (value >>> (8 * i)) & 0xff
      const writable = this.#writable[at] ?? 0
      const cleared = (this.#clearedByOne[at] ?? 0) & written
      const old = this.bytes[at] ?? 0
      this.bytes[at] = ((old & ~writable) | (written & writable)) & ~cleared
    }
    for (const { start, end, onWrite } of this.#watchers) {
      if (offset < end && offset + width > start) onWrite()
    }
  }
}

function enlarged(bytes: Uint8Array, size: number): Uint8Array {
  const larger = new Uint8Array(size)
  larger.set(bytes)
  return larger
}

function setBits(bytes: Uint8Array, offset: number, width: Width, mask: number): void {
  for (let i = 0; i < width; i++) {
    bytes[offset + i] = (bytes[offset + i] ?? 0) | ((mask >>> (8 * i)) & 0xff)
  }
}
