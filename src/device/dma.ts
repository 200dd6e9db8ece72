/** Guest memory as a driver sees it. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'

/**
 * The client's memory, by IOVA. Every call checks what the client mapped and with which rights.
 *
 * @throws EFAULT not mapped · EACCES mapped without that right, or the guest has bus mastering off · EAGAIN the device is
 *         stopped for migration
 */
export interface Dma {
  /**
   * Copies guest memory at `iova` into `target`; await it.
   *
   * @returns nothing, and it is done, where the memory is mapped here; else a promise: the VM has to be asked, which it
   *          can answer only after the access that led to this has been replied to
   */
  read(iova: number, target: Uint8Array): void | Promise<void>
  /** Copies `source` into guest memory at `iova`; await it, as {@link read}. */
  write(iova: number, source: Uint8Array): void | Promise<void>
  /**
   * Guest memory itself, without a copy; inside one mapping. Reads zeros after the client has unmapped it.
   *
   * @param length bytes
   * @throws EOPNOTSUPP the memory can only be reached by copying (see `read` and `write`)
   */
  view(iova: number, length: number): Uint8Array
}

/** Guest memory behind a gate: open while a client is attached, and only to a function that may master the bus. */
export class DmaGate implements Dma {
  readonly #isBusMaster: () => boolean
  #client: Dma | undefined
  #held = false
  /** What accesses reach now. */
  #memory: Dma | undefined

  constructor(isBusMaster: () => boolean) {
    this.#isBusMaster = isBusMaster
  }

  /** Opens the gate to a client's memory, or shuts it. */
  set memory(memory: Dma | undefined) {
    this.#client = memory
    this.#memory = this.#held ? undefined : memory
  }

  /** Shuts the gate while the device is stopped. */
  set held(held: boolean) {
    this.#held = held
    this.#memory = held ? undefined : this.#client
  }

  read(iova: number, target: Uint8Array): void | Promise<void> {
    return this.#open(iova).read(iova, target)
  }

  write(iova: number, source: Uint8Array): void | Promise<void> {
    return this.#open(iova).write(iova, source)
  }

  view(iova: number, length: number): Uint8Array {
    return this.#open(iova).view(iova, length)
  }

  #open(iova: number): Dma {
    if (this.#memory === undefined) {
      if (this.#client !== undefined)
        throw new ErrnoError('EAGAIN', `dma at ${hex(iova)}: the device is stopped`)
      throw new ErrnoError('EFAULT', `dma at ${hex(iova)}: no client is attached`)
    }
    // QEMU leaves memory mapped when the guest clears Bus Master Enable, so the bit is ours to obey.
    if (!this.#isBusMaster()) {
      throw new ErrnoError('EACCES', `dma at ${hex(iova)}: bus mastering is off`)
    }
    return this.#memory
  }
}
