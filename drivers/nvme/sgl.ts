/** Scatter Gather Lists (4.4): data blocks of any address and length, in the command or in segments that lead to each other. */
import type { Command } from './command.ts'
import { LIST_SIZE, type ReadList, type Resolved } from './descriptor-list.ts'
import { SGL, STATUS } from './spec.ts'

const TWO_32 = 2 ** 32
/** Most descriptors of a command; a list that leads back to itself ends there. */
const MAX_DESCRIPTORS = LIST_SIZE / SGL.SIZE

/** What is left to do for one command. */
interface Progress {
  /** Bytes. */
  left: number
  /** How many descriptors may come yet. */
  room: number
  readonly next: Resolved
}

interface Descriptor {
  readonly type: number
  readonly iova: number
  readonly length: number
}

export class SglWalk {
  readonly #read: ReadList

  constructor(read: ReadList) {
    this.#read = read
  }

  /** @see DataPointers.resolve */
  resolve(command: Command, length: number, next: Resolved): void {
    const { pointer } = command
    const descriptor = {
      type: pointer[3]! >>> 24,
      iova: command.address(0),
      length: pointer[2]!,
    }
    const progress = { left: length, room: MAX_DESCRIPTORS, next }
    switch (typeOf(descriptor)) {
      case SGL.DATA_BLOCK:
        next(command, this.#block(command, descriptor, progress) || ended(progress))
        break
      case SGL.SEGMENT:
      case SGL.LAST_SEGMENT:
        this.#segment(command, descriptor, progress)
        break
      default:
        next(command, STATUS.SGL_DESCRIPTOR_TYPE_INVALID)
    }
  }

  #segment(command: Command, segment: Descriptor, progress: Progress): void {
    const { iova, length } = segment
    const count = length / SGL.SIZE
    if (count === 0 || !Number.isInteger(count)) {
      progress.next(command, STATUS.INVALID_SGL_SEGMENT_DESCRIPTOR)
      return
    }
    progress.room -= count
    if (progress.room < 0) {
      progress.next(command, STATUS.INVALID_NUMBER_OF_SGL_DESCRIPTORS)
      return
    }
    const isLast = typeOf(segment) === SGL.LAST_SEGMENT
    this.#read(
      command,
      iova,
      length,
      (list) => this.#descriptors(command, list, count, isLast, progress),
      (status) => progress.next(command, status),
    )
  }

  #descriptors(
    command: Command,
    list: DataView,
    count: number,
    isLast: boolean,
    progress: Progress,
  ): void {
    const { next } = progress
    for (let i = 0; i < count; i++) {
      const descriptor = descriptorAt(list, i * SGL.SIZE)
      const type = typeOf(descriptor)
      if (type === SGL.DATA_BLOCK) {
        const status = this.#block(command, descriptor, progress)
        if (status !== STATUS.SUCCESS) {
          next(command, status)
          return
        }
      } else if (type !== SGL.SEGMENT && type !== SGL.LAST_SEGMENT) {
        next(command, STATUS.SGL_DESCRIPTOR_TYPE_INVALID)
        return
      } else if (i < count - 1) {
        next(command, STATUS.INVALID_NUMBER_OF_SGL_DESCRIPTORS)
        return
      } else if (isLast) {
        next(command, STATUS.INVALID_SGL_SEGMENT_DESCRIPTOR)
        return
      } else {
        this.#segment(command, descriptor, progress)
        return
      }
    }
    // a segment that is not the last one has to lead to another
    next(command, isLast ? ended(progress) : STATUS.INVALID_SGL_SEGMENT_DESCRIPTOR)
  }

  #block(command: Command, { iova, length }: Descriptor, progress: Progress): number {
    if (length > progress.left) return STATUS.DATA_SGL_LENGTH_INVALID
    if (length > 0) command.data.add(iova, length)
    progress.left -= length
    return STATUS.SUCCESS
  }
}

function descriptorAt(list: DataView, at: number): Descriptor {
  return {
    type: list.getUint8(at + 15),
    iova: list.getUint32(at + 4, true) * TWO_32 + list.getUint32(at, true),
    length: list.getUint32(at + 8, true),
  }
}

/** The type, -1 with a subtype that is no plain address. */
function typeOf({ type }: Descriptor): number {
  return (type & 0xf) === 0 ? type >>> 4 : -1
}

/** All of the data must have its place. */
function ended({ left }: Progress): number {
  return left === 0 ? STATUS.SUCCESS : STATUS.DATA_SGL_LENGTH_INVALID
}
