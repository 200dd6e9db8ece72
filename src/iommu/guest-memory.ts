/** Guest memory as a device reaches it: copies, single values, lists and views, by IOVA. */
import { inParts } from '../lib/all-of.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { AsyncFile, FileDone } from '../os/async-file.ts'
import { accessible, type Part, partsOf, type Right } from './access.ts'
import { CopyBuffers } from './copy-io.ts'
import type { DirtyLog } from './dirty-log.ts'
import { type FileIoClient, queueFileIo } from './file-io.ts'
import { transfer, type TransferOptions, transferSync } from './file-transfer.ts'
import type { DmaRange } from './map-entry.ts'
import type { MapTable } from './map-table.ts'
import type { CopiedMemory, Done } from './memory.ts'
import type { Pin, PinAccess } from './pin.ts'
import type { PinTable } from './pin-table.ts'
import { checkListLength, forEachSegment, listLength, type Segment } from './segments.ts'
import { NO_SPAN, readSpan, type Span, writeSpan } from './span.ts'
import { takeView } from './view.ts'

/** One way of copying. */
interface Direction {
  readonly right: Right
  readonly copy: (span: Span, iova: number, part: Uint8Array) => void
  readonly ask: (memory: CopiedMemory, offset: number, part: Uint8Array) => Done
}
const READ: Direction = {
  right: 'readable',
  copy: readSpan,
  ask: (memory, offset, part) => memory.read(offset, part),
}
const WRITE: Direction = {
  right: 'writable',
  copy: writeSpan,
  ask: (memory, offset, part) => memory.write(offset, part),
}

export class GuestMemory {
  readonly #table: MapTable
  readonly #dirtyLog: DirtyLog
  readonly #pins: PinTable | undefined
  /** As transfers of files see it. */
  readonly #fileClient: FileIoClient
  /** What was accessed last: the next access is near, as a rule. */
  #span: Span = NO_SPAN

  /** @param pins undefined where nobody pays for them */
  constructor(table: MapTable, dirtyLog: DirtyLog, pins: PinTable | undefined) {
    this.#table = table
    this.#dirtyLog = dirtyLog
    this.#pins = pins
    this.#fileClient = { table, dirtyLog, memory: this, user: this, buffers: new CopyBuffers() }
  }

  /** A map has gone or is about to: no short cut may lead there. */
  forgetShortCuts(): void {
    this.#span = NO_SPAN
  }

  /** What is mapped now, by IOVA. */
  maps(): readonly DmaRange[] {
    return this.#table.all.filter(({ stopped }) => !stopped).map(({ range }) => range)
  }

  /**
   * Copies client memory, across maps.
   *
   * @returns a promise where part of it has to be asked of the client
   * @throws EFAULT not mapped · EACCES not readable; the promise rejects with what the client says
   */
  read(iova: number, target: Uint8Array): Done {
    const span = this.#readable(iova, target.length)
    if (span === undefined) return this.#across(iova, target, READ)
    readSpan(span, iova, target)
  }

  /** Copies into client memory, as {@link read} does from it. @throws EFAULT not mapped · EACCES not writable */
  write(iova: number, source: Uint8Array): Done {
    const span = this.#writable(iova, source.length)
    if (span === undefined) return this.#across(iova, source, WRITE)
    writeSpan(span, iova, source)
  }

  readU8(iova: number): number | Promise<number> {
    const span = this.#readable(iova, 1)
    return span === undefined ? this.#ask(iova, 1, getU8) : span.data.getUint8(iova - span.base)
  }

  readU16(iova: number): number | Promise<number> {
    const span = this.#readable(iova, 2)
    if (span === undefined) return this.#ask(iova, 2, getU16)
    return span.data.getUint16(iova - span.base, true)
  }

  readU32(iova: number): number | Promise<number> {
    const span = this.#readable(iova, 4)
    if (span === undefined) return this.#ask(iova, 4, getU32)
    return span.data.getUint32(iova - span.base, true)
  }

  readU64(iova: number): bigint | Promise<bigint> {
    const span = this.#readable(iova, 8)
    if (span === undefined) return this.#ask(iova, 8, getU64)
    return span.data.getBigUint64(iova - span.base, true)
  }

  writeU8(iova: number, value: number): Done {
    const span = this.#writable(iova, 1)
    if (span === undefined) return this.#across(iova, Uint8Array.of(value), WRITE)
    span.data.setUint8(iova - span.base, value)
  }

  writeU16(iova: number, value: number): Done {
    const span = this.#writable(iova, 2)
    if (span === undefined) return this.#tell(iova, 2, (view) => view.setUint16(0, value, true))
    span.data.setUint16(iova - span.base, value, true)
  }

  writeU32(iova: number, value: number): Done {
    const span = this.#writable(iova, 4)
    if (span === undefined) return this.#tell(iova, 4, (view) => view.setUint32(0, value, true))
    span.data.setUint32(iova - span.base, value, true)
  }

  writeU64(iova: number, value: bigint): Done {
    const span = this.#writable(iova, 8)
    if (span === undefined) return this.#tell(iova, 8, (view) => view.setBigUint64(0, value, true))
    span.data.setBigUint64(iova - span.base, value, true)
  }

  /**
   * Copies a list, in its order. All of it is checked before any of it is copied.
   *
   * @throws EINVAL the list is not as long as `target` · and as {@link read}
   */
  readList(segments: readonly Segment[], target: Uint8Array): Done {
    checkListLength(segments, target)
    this.#partsOf(segments, 'readable')
    return forEachSegment(segments, target, (iova, part) => this.read(iova, part))
  }

  /** Copies into a list, as {@link readList} does from one. */
  writeList(segments: readonly Segment[], source: Uint8Array): Done {
    checkListLength(segments, source)
    this.#partsOf(segments, 'writable')
    return forEachSegment(segments, source, (iova, part) => this.write(iova, part))
  }

  /** Client memory itself, inside one map that grants reading. @throws EFAULT, EACCES, EOPNOTSUPP */
  view(iova: number, length: number): Uint8Array {
    return takeView(accessible(this.#table, iova, 'readable'), iova, length, this.#dirtyLog)
  }

  /** Pins pages. @throws EOPNOTSUPP nobody pays for them · and as {@link PinTable.pin} */
  pin(iova: number, pages: number, access: PinAccess): Pin {
    if (this.#pins === undefined)
      throw new ErrnoError('EOPNOTSUPP', `pin at ${hex(iova)}: nobody pays for locked pages here`)
    return this.#pins.pin(iova, pages, access)
  }

  /**
   * Moves bytes from a file into a list, on the thread pool. The list is checked before anything is moved.
   *
   * @throws EFAULT, EACCES of the list · and as {@link transfer}
   */
  async writeFromFile(list: readonly Segment[], fd: number, position: number): Promise<number> {
    return transfer(this.#transfer('from-file', list, fd, position))
  }

  /** Moves bytes of a list into a file, as {@link writeFromFile} does from one. */
  async readToFile(list: readonly Segment[], fd: number, position: number): Promise<number> {
    return transfer(this.#transfer('to-file', list, fd, position))
  }

  /** {@link writeFromFile} at once. @throws EOPNOTSUPP memory that the client has to be asked for */
  writeFromFileSync(list: readonly Segment[], fd: number, position: number): number {
    return transferSync(this.#transfer('from-file', list, fd, position))
  }

  /** {@link readToFile} at once. @throws EOPNOTSUPP memory that the client has to be asked for */
  readToFileSync(list: readonly Segment[], fd: number, position: number): number {
    return transferSync(this.#transfer('to-file', list, fd, position))
  }

  /**
   * Queues moving bytes from a file into a list, until `file.submit()`. The list is checked before anything is moved.
   *
   * @throws EFAULT, EACCES of the list · EINVAL, EBADF of the position and the file
   */
  queueFromFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void {
    this.#queue('from-file', list, file, position, done)
  }

  /** Queues moving bytes of a list into a file, as {@link queueFromFile} does from one. */
  queueToFile(list: readonly Segment[], file: AsyncFile, position: number, done: FileDone): void {
    this.#queue('to-file', list, file, position, done)
  }

  #queue(
    direction: 'from-file' | 'to-file',
    list: readonly Segment[],
    file: AsyncFile,
    position: number,
    done: FileDone,
  ): void {
    queueFileIo({ direction, file, list, position, done }, this.#fileClient)
  }

  /** The span of all these bytes, if there is one that may be read. */
  #readable(iova: number, length: number): Span | undefined {
    const span = this.#spanAt(iova)
    return iova + length <= span.end && span.readable ? span : undefined
  }

  /** The span of all these bytes, if there is one that may be written, which they are then going to be. */
  #writable(iova: number, length: number): Span | undefined {
    const span = this.#spanAt(iova)
    if (!(iova + length <= span.end && span.writable)) return undefined
    this.#dirtyLog.wrote(iova, length)
    return span
  }

  /** The span that an address lies in, if it lies in one: the one used last, as a rule. */
  #spanAt(iova: number): Span {
    const span = this.#span
    return iova >= span.start && iova < span.end ? span : this.#seek(iova)
  }

  #seek(iova: number): Span {
    const entry = this.#table.at(iova)
    if (entry === undefined || entry.stopped || !entry.memory.mapped) return NO_SPAN
    this.#span = entry.memory.spanAt(iova)
    return this.#span
  }

  /** Does an access that no one span serves, part by part. */
  #across(iova: number, buffer: Uint8Array, { right, copy, ask }: Direction): Done {
    return inParts((part) => {
      for (let done = 0; done < buffer.length;) {
        const at = iova + done
        const entry = accessible(this.#table, at, right)
        const { memory } = entry
        const span = memory.mapped ? memory.spanAt(at) : undefined
        const length = Math.min(buffer.length - done, (span ?? entry).end - at)
        const bytes = buffer.subarray(done, done + length)
        if (right === 'writable' && entry.file !== undefined) this.#dirtyLog.wrote(at, length)
        if (span !== undefined) copy(span, at, bytes)
        else if (!memory.mapped) part(ask(memory, at - entry.iova, bytes))
        done += length
      }
    })
  }

  /** A value that no one span holds. */
  #ask<T>(iova: number, length: number, get: (view: DataView) => T): T | Promise<T> {
    const value = new Uint8Array(length)
    const view = new DataView(value.buffer)
    const under = this.#across(iova, value, READ)
    return under === undefined ? get(view) : under.then(() => get(view))
  }

  #tell(iova: number, length: number, set: (view: DataView) => void): Done {
    const value = new Uint8Array(length)
    set(new DataView(value.buffer))
    return this.#across(iova, value, WRITE)
  }

  /** All that a list touches. @throws EFAULT, EACCES */
  #partsOf(segments: readonly Segment[], right: Right): Part[] {
    return segments.flatMap(({ iova, length }) => partsOf(this.#table, iova, length, right))
  }

  #transfer(
    direction: 'from-file' | 'to-file',
    list: readonly Segment[],
    fd: number,
    position: number,
  ): TransferOptions {
    listLength(list)
    const parts = this.#partsOf(list, direction === 'from-file' ? 'writable' : 'readable')
    const { user } = this.#fileClient
    return { direction, parts, fd, position, dirtyLog: this.#dirtyLog, user }
  }
}

const getU8 = (view: DataView) => view.getUint8(0)
const getU16 = (view: DataView) => view.getUint16(0, true)
const getU32 = (view: DataView) => view.getUint32(0, true)
const getU64 = (view: DataView) => view.getBigUint64(0, true)
