/** One request as it came: a cursor over the buffer that it was read into. */
import * as fuse from '../abi/fuse.ts'
import { ErrnoError } from '../lib/errno.ts'
import { dataViewOf, type Fields, type View } from '../lib/struct.ts'
import { Call } from './pending-calls.ts'

const HEADER = fuse.FuseInHeader.size

export class Request {
  opcode = 0
  unique = 0
  nodeid = 0
  length = 0
  #bytes: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(new ArrayBuffer(0))
  readonly #header = fuse.FuseInHeader.view()

  /**
   * Points at a request.
   *
   * @param bytes  stay the caller's, and as they are while the request is served
   * @param length of the request
   * @throws EINVAL it is cut off, or says another length
   */
  aim(bytes: Uint8Array, length: number): this {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#view = dataViewOf(bytes)
    }
    if (length < HEADER) throw new ErrnoError('EINVAL', `a request of ${length} bytes`)
    const header = this.#header.aim(this.#view)
    this.opcode = header.opcode
    this.unique = header.unique
    this.length = length
    if (header.len !== length)
      throw new ErrnoError('EINVAL', `a request of ${length} bytes that says ${header.len}`)
    this.nodeid = header.nodeid
    return this
  }

  /** Who asks. */
  caller(): Call {
    const { uid, gid, pid } = this.#header
    return new Call({ uid, gid, pid })
  }

  /** Aims at the fixed part, or at what follows it. @throws EINVAL the request ends before it does */
  body<F extends Fields>(view: View<F>, size: number, offset = 0): View<F> {
    this.#check(offset + size)
    return view.aim(this.#view, HEADER + offset)
  }

  /** A name that ends in a NUL. @throws EINVAL it does not */
  name(offset = 0): string {
    const start = HEADER + offset
    const end = this.#bytes.indexOf(0, start)
    if (end < start || end >= this.length)
      throw new ErrnoError('EINVAL', `request ${this.opcode}: a name without an end`)
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, end - start).toString()
  }

  /** A copy of `count` bytes. @param most of them that are wanted @throws EINVAL the request ends before they do */
  copy(offset: number, count: number, most: number): Uint8Array {
    this.#check(offset + count)
    const start = HEADER + offset
    return this.#bytes.slice(start, start + Math.min(count, most))
  }

  #check(end: number): void {
    if (HEADER + end <= this.length) return
    throw new ErrnoError(
      'EINVAL',
      `request ${this.opcode}: ${this.length} bytes, ${HEADER + end} are the least`,
    )
  }
}
