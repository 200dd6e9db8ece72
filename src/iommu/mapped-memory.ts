/**
 * Memory mapped into this process, twice: copies go through the mapping that all users of its file share, and which only
 * checked code of ours touches; what drivers view is mapped for this map alone, so that it can be taken from them.
 */
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { type Arena, type Mapping } from '../os/arena.ts'
import { MAX_FILE_MAPPING } from '../os/file-mapping.ts'
import type { FileRequest } from '../os/file-request.ts'
import type { ClientFile } from './client-file.ts'
import { NO_SPAN, type Span } from './span.ts'

/** Bytes of one piece, of the file as of what is viewed: an ArrayBuffer of Node 20 ends there. */
const PIECE = MAX_FILE_MAPPING

/** A map of IOVA onto a part of a file. */
export interface FileBacked {
  readonly iova: number
  readonly size: number
  readonly readable: boolean
  readonly writable: boolean
  /** Where it lies in the file, bytes. */
  readonly offset: number
  /** Its pieces for all of the range are mapped. */
  readonly file: ClientFile
}

export class MappedMemory {
  readonly mapped = true
  readonly #map: FileBacked
  readonly #arena: Arena
  /** Where the file as a whole would start, as an IOVA; below 0, as a rule. */
  readonly #fileBase: number
  /** The one in the first piece of the file, and nearly always the only one. */
  #firstSpan = NO_SPAN
  /** The others, by the piece; each is made at its first access: a view of 4 GiB costs milliseconds. */
  #spans: (Span | undefined)[] = []
  /** By the piece of the map. */
  #views: (Mapping | undefined)[] = []

  /** @param arena where the views of this map go */
  constructor(map: FileBacked, arena: Arena) {
    this.#map = map
    this.#arena = arena
    this.#fileBase = map.iova - map.offset
  }

  /** The span that an IOVA of this map lies in. */
  spanAt(iova: number): Span {
    const first = this.#firstSpan
    if (iova >= first.start && iova < first.end) return first
    return this.#laterSpanAt(iova)
  }

  /** Adds the memory from an IOVA of this map on to a request, up to `end`. */
  addTo(request: FileRequest, iova: number, end: number): void {
    for (let at = iova; at < end;) {
      const span = this.spanAt(at)
      const part = Math.min(end, span.end) - at
      request.add(span, at - span.base, part)
      at += part
    }
  }

  #laterSpanAt(iova: number): Span {
    const { file, iova: start, size, offset, readable, writable } = this.#map
    const piece = file.pieceAt(iova - this.#fileBase)
    const index = Math.floor((iova - this.#fileBase) / PIECE) - Math.floor(offset / PIECE)
    let span = this.#spans[index]
    if (span === undefined) {
      const base = this.#fileBase + piece.offset
      const end = Math.min(start + size, base + piece.length)
      const memory = piece.bytes(end - base)
      const data = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
      const { address } = piece
      span = {
        start: Math.max(start, base),
        end,
        readable,
        writable,
        base,
        bytes: memory,
        data,
        address,
      }
      if (index === 0) this.#firstSpan = span
      else this.#spans[index] = span
    }
    return span
  }

  /** The memory itself, from `offset` in this map on. @throws EOPNOTSUPP it crosses two pieces · ENOSPC, ENOMEM from mmap */
  view(offset: number, length: number): Uint8Array {
    const index = Math.floor(offset / PIECE)
    const start = index * PIECE
    if (offset + length > start + PIECE) {
      throw new ErrnoError(
        'EOPNOTSUPP',
        `dma view of ${bytes(length)}: crosses a 4 GiB boundary of its map`,
      )
    }
    let mapping = this.#views[index]
    if (mapping === undefined) {
      const { file, offset: fileOffset, size, writable } = this.#map
      const end = Math.min(PIECE, size - start)
      mapping = this.#arena.map(file.fd, fileOffset + start, end, writable)
      this.#views[index] = mapping
    }
    return mapping.bytes.subarray(offset - start, offset - start + length)
  }

  /** All of a range, in as many views as it takes. @throws ENOSPC, ENOMEM from mmap */
  views(offset: number, length: number): readonly Uint8Array[] {
    const views: Uint8Array[] = []
    for (let done = 0; done < length;) {
      const part = Math.min(length - done, PIECE - ((offset + done) % PIECE))
      views.push(this.view(offset + done, part))
      done += part
    }
    return views
  }

  /** All views read zeros from now on. */
  close(): void {
    this.#firstSpan = NO_SPAN
    this.#spans = []
    for (const view of this.#views.splice(0)) view?.unmap()
  }
}
