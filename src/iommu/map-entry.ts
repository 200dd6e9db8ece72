/** One map of a container: a range of IOVA, what the device may do there, and the memory behind it. */
import type { Arena } from '../os/arena.ts'
import { type ClientFile, holdClientFile } from './client-file.ts'
import { FileMemory } from './file-memory.ts'
import { MappedMemory } from './mapped-memory.ts'
import type { Memory, RemoteMemory } from './memory.ts'
import { MessageMemory } from './message-memory.ts'
import type { Backing, PinnableMap } from './pinnable.ts'

/** A range of client memory, and what the device may do there. */
export interface DmaRange {
  /** Bytes, page aligned, like `size`. */
  readonly iova: number
  readonly size: number
  /** Whether the device may read from it. */
  readonly readable: boolean
  /** Whether the device may write to it. */
  readonly writable: boolean
}

/** What a client maps. */
export interface DmaMap extends DmaRange {
  /** What backs it: an fd, owned by the container from the call on, and where the range lies in it. */
  readonly file?: { readonly fd: number; readonly offset: number }
}

/** A range and what backs it. */
export interface ClientRange extends DmaRange {
  /** The container's own, and open until the map goes; undefined for what only the client can reach. */
  readonly file: { readonly fd: number; readonly offset: number } | undefined
}

/** What the maps of one container share. */
export interface MapSupport {
  /** Reaches what comes without a file. */
  readonly remote: RemoteMemory
  /** Where views go. */
  readonly arena: Arena
  /** Whether files that can shrink are mapped nevertheless. */
  readonly mapUnsealed: boolean
  /** Whether the client's limit of locked memory does not bind what it maps now. */
  readonly lockExempt: boolean
}

export class MapEntry implements PinnableMap {
  readonly iova: number
  readonly size: number
  /** The first IOVA after it. */
  readonly end: number
  readonly readable: boolean
  readonly writable: boolean
  /** What backs it, and where it lies there; undefined for what only the client can reach. */
  readonly file: ClientFile | undefined
  readonly offset: number
  readonly memory: Memory
  readonly lockExempt: boolean
  /** No access begins any more. */
  stopped = false
  #uses = 0
  /** Told of the end of the last access. */
  #whenIdle: (() => void)[] | undefined
  #closed = false

  /** @throws as {@link holdClientFile}, the fd closed */
  constructor(map: DmaMap, { remote, arena, mapUnsealed, lockExempt }: MapSupport) {
    const { iova, size, readable, writable } = map
    this.iova = iova
    this.size = size
    this.end = iova + size
    this.readable = readable
    this.writable = writable
    this.offset = map.file?.offset ?? 0
    this.lockExempt = lockExempt
    if (map.file === undefined) {
      this.file = undefined
      this.memory = new MessageMemory(remote, iova)
    } else {
      const file = holdClientFile({ ...map.file, size, writable }, mapUnsealed)
      this.file = file
      this.memory = file.mapped
        ? new MappedMemory({ iova, size, readable, writable, file, offset: this.offset }, arena)
        : new FileMemory(file, this.offset)
    }
  }

  /** What is told of it. */
  get range(): DmaRange {
    const { iova, size, readable, writable } = this
    return { iova, size, readable, writable }
  }

  get clientRange(): ClientRange {
    const { file, offset } = this
    return { ...this.range, file: file && { fd: file.fd, offset } }
  }

  get backing(): Backing | undefined {
    const { file, offset } = this
    return file?.mapped === true ? { file, offset } : undefined
  }

  /** An access begins that ends later: until {@link endUse} the memory stays, also when the client has unmapped it. */
  beginUse(): void {
    this.#uses++
  }

  /** The access has ended. */
  endUse(): void {
    if (--this.#uses > 0) return
    for (const resolve of this.#whenIdle ?? []) resolve()
    this.#whenIdle = undefined
    if (this.#closed) this.file?.release()
  }

  /** Nothing where no access is under way, else a promise of the end of those that are. */
  idle(): void | Promise<void> {
    if (this.#uses === 0) return
    return new Promise((resolve) => {
      ;(this.#whenIdle ??= []).push(resolve)
    })
  }

  /** Whether it is no more. */
  get closed(): boolean {
    return this.#closed
  }

  /** Its views read zeros from now on; its memory goes with the last access that is under way. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.stopped = true
    if (this.memory.mapped) this.memory.close()
    if (this.#uses === 0) this.file?.release()
  }
}
