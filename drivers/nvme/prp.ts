/** Physical Region Pages (4.3): the first page from anywhere, the others whole, more than two of them in lists. */
import type { Command } from './command.ts'
import type { ReadList, Resolved } from './descriptor-list.ts'
import { STATUS } from './spec.ts'

const ENTRY_SIZE = 8
const TWO_32 = 2 ** 32

export class PrpWalk {
  readonly #pageSize: number
  readonly #read: ReadList

  constructor(pageSize: number, read: ReadList) {
    this.#pageSize = pageSize
    this.#read = read
  }

  /** @see DataPointers.resolve */
  resolve(command: Command, length: number, next: Resolved): void {
    const offset = this.#offset(command.pointer[0]!)
    if (offset % 4 !== 0) {
      next(command, STATUS.PRP_OFFSET_INVALID)
      return
    }
    const first = Math.min(length, this.#pageSize - offset)
    command.data.add(command.address(0), first)
    const left = length - first
    const second = this.#offset(command.pointer[2]!)
    if (left === 0) next(command, STATUS.SUCCESS)
    else if (left > this.#pageSize) this.#list(command, command.address(1), left, next)
    else if (second !== 0) next(command, STATUS.PRP_OFFSET_INVALID)
    else {
      command.data.add(command.address(1), left)
      next(command, STATUS.SUCCESS)
    }
  }

  /** Takes one page of a list, or what of it is needed. Its last entry is the next one where more are needed. */
  #list(command: Command, iova: number, left: number, next: Resolved): void {
    const offset = this.#offset(iova % TWO_32)
    if (offset % ENTRY_SIZE !== 0) {
      next(command, STATUS.PRP_OFFSET_INVALID)
      return
    }
    const needed = Math.ceil(left / this.#pageSize)
    const count = Math.min(needed, (this.#pageSize - offset) / ENTRY_SIZE)
    this.#read(
      command,
      iova,
      count * ENTRY_SIZE,
      (list) => this.#entries(command, list, count, left, next),
      (status) => next(command, status),
    )
  }

  #entries(command: Command, list: DataView, count: number, left: number, next: Resolved): void {
    for (let i = 0; i < count; i++) {
      const low = list.getUint32(i * ENTRY_SIZE, true)
      const iova = list.getUint32(i * ENTRY_SIZE + 4, true) * TWO_32 + low
      if (this.#offset(low) !== 0) {
        next(command, STATUS.PRP_OFFSET_INVALID)
        return
      }
      if (i === count - 1 && left > this.#pageSize) {
        // a list that starts a page has more entries than any transfer has pages: this ends, wherever it leads
        this.#list(command, iova, left, next)
        return
      }
      const length = Math.min(left, this.#pageSize)
      command.data.add(iova, length)
      left -= length
    }
    next(command, STATUS.SUCCESS)
  }

  /** In its page. @param low the low half of an address */
  #offset(low: number): number {
    return low & (this.#pageSize - 1)
  }
}
