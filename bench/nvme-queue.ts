/** A pair of NVMe queues from the guest's side: commands are put in, completions taken out, and doorbells rung. */
import { CQE_SIZE, REGISTER, SQE_SIZE } from '../drivers/nvme/spec.ts'
import type { ClientDoorbells } from '../src/vfio-user/client.ts'

/** Dwords that are not given are 0. */
export interface NvmeCommand {
  readonly opcode: number
  readonly nsid?: number
  readonly prp1?: number
  readonly prp2?: number
  readonly cdw10?: number
  readonly cdw11?: number
  readonly cdw12?: number
}

export interface NvmeCompletion {
  readonly id: number
  /** Status Code Type and Status Code; 0 is success. */
  readonly status: number
}

/** Where a pair is, in bytes of the guest's memory. */
export interface NvmeQueuePlaces {
  readonly submission: number
  readonly completion: number
  /** Where doorbells are kept, and from when on they are to be rung, where they are in memory. */
  readonly shadows?: { readonly values: number; readonly events: number } | undefined
}

const TWO_32 = 2 ** 32

export class NvmeQueue {
  readonly id: number
  /** Of each of the two. */
  readonly entries: number
  /** Doorbells that were rung. */
  rings = 0
  readonly #memory: Uint8Array
  readonly #view: DataView
  readonly #doorbells: ClientDoorbells
  readonly #places: NvmeQueuePlaces
  #tail = 0
  #head = 0
  #phase = 1

  /** @param memory of the guest, zeros where the queues are */
  constructor(
    id: number,
    entries: number,
    memory: Uint8Array,
    doorbells: ClientDoorbells,
    places: NvmeQueuePlaces,
  ) {
    this.id = id
    this.entries = entries
    this.#memory = memory
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
    this.#doorbells = doorbells
    this.#places = places
  }

  /** Puts a command there, which is seen when {@link ring} has been called. There must be room. */
  put(id: number, command: NvmeCommand): void {
    const { opcode, nsid = 0, prp1 = 0, prp2 = 0, cdw10 = 0, cdw11 = 0, cdw12 = 0 } = command
    const view = this.#view
    const at = this.#places.submission + this.#tail * SQE_SIZE
    this.#memory.fill(0, at, at + SQE_SIZE)
    view.setUint32(at, opcode + id * 2 ** 16, true)
    view.setUint32(at + 4, nsid, true)
    view.setUint32(at + 24, prp1 % TWO_32, true)
    view.setUint32(at + 28, prp1 / TWO_32, true)
    view.setUint32(at + 32, prp2 % TWO_32, true)
    view.setUint32(at + 36, prp2 / TWO_32, true)
    view.setUint32(at + 40, cdw10, true)
    view.setUint32(at + 44, cdw11, true)
    view.setUint32(at + 48, cdw12, true)
    this.#tail = (this.#tail + 1) % this.entries
  }

  /** Tells of what was put there. */
  ring(): void {
    this.#ring(2 * this.id, this.#tail)
  }

  /** Takes the next completion, if there is one. */
  take(): NvmeCompletion | undefined {
    const at = this.#places.completion + this.#head * CQE_SIZE
    const status = this.#view.getUint16(at + 14, true)
    if ((status & 1) !== this.#phase) return undefined
    this.#head = (this.#head + 1) % this.entries
    if (this.#head === 0) this.#phase ^= 1
    return { id: this.#view.getUint16(at + 12, true), status: (status >> 1) & 0x7ff }
  }

  /** Tells of what was taken. */
  acknowledge(): void {
    this.#ring(2 * this.id + 1, this.#head)
  }

  /** @param number of the doorbell, counted from the tail of submission queue 0 */
  #ring(number: number, value: number): void {
    if (!this.#mustRing(number, value)) return
    this.rings++
    this.#doorbells.ring(REGISTER.DOORBELLS + 4 * number, value)
  }

  /** Stores a doorbell where it is kept, and says whether the controller is to hear of it, as Linux has it. */
  #mustRing(number: number, value: number): boolean {
    const { shadows } = this.#places
    if (shadows === undefined) return true
    const at = shadows.values + 4 * number
    const old = this.#view.getUint32(at, true)
    this.#view.setUint32(at, value, true)
    Atomics.exchange(FENCE, 0, value) // ours first, then a look at theirs
    const event = this.#view.getUint32(shadows.events + 4 * number, true)
    return ((value - event - 1) & 0xffff) < ((value - old) & 0xffff)
  }
}

/** Something to fence with. */
const FENCE = new Int32Array(1)
