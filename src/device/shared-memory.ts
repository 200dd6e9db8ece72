/**
 * Memory that a driver shares with its client: a sealed file, mapped here and, where a region shows it, by the client.
 *
 * A client that has gone may have kept its mapping. So a file that was given away is given to one client only: for the next,
 * the same bytes are in a new file.
 */
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import { Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'
import { closeFd } from '../os/fd.ts'
import { copyFile, createMemfd } from '../os/memfd.ts'

/** Memory of a mdev for its BARs; see `Mdev.sharedMemory`. */
export interface SharedMemory {
  /** Bytes. */
  readonly size: number
  /**
   * The memory itself, zeros at first. It lies somewhere in a larger buffer: views of other widths start at its
   * `byteOffset`. The client may change it at any moment: read a value once, check that, use that.
   */
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** Most bytes of one memory: what one view can show. */
const MAX_SIZE = 2 ** 32
const NAME = 'mdevkit-region'

export class MemoryFile implements SharedMemory {
  readonly size: number
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly #mapping: Mapping
  #fd: number
  #given = false

  /** @throws EINVAL no size from 1 byte to 4 GiB · EMFILE, ENOMEM, ENOSPC */
  constructor(arena: Arena, size: number) {
    if (!Number.isInteger(size) || size < 1 || size > MAX_SIZE) {
      throw new ErrnoError('EINVAL', `shared memory of ${size} bytes: not 1 to ${bytes(MAX_SIZE)}`)
    }
    this.size = size
    using undo = new Unwind()
    const padded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE // whoever maps it gets pages of which nobody else has a part
    this.#fd = createMemfd(NAME, padded)
    undo.defer(() => closeFd(this.#fd))
    this.#mapping = arena.map(this.#fd, 0, padded, true)
    this.bytes = this.#mapping.bytes.subarray(0, size)
    undo.keep()
  }

  /** Whether there is a file to give away: not after it was freed. */
  get shareable(): boolean {
    return this.#fd >= 0
  }

  /** The file, to be given to a client; it stays ours. Whole pages, of which the last is padded with zeros. */
  share(): number {
    this.#given = true
    return this.#fd
  }

  /**
   * The client has gone: what it keeps is from now on its own. The bytes stay as they are.
   *
   * @throws EMFILE, ENOMEM: the bytes are zeros and private then, and there is no file any more
   */
  renew(): void {
    if (!this.#given || !this.shareable) return
    this.#given = false
    const old = this.#fd
    this.#fd = -1
    try {
      const fd = createMemfd(NAME, this.#mapping.bytes.length)
      try {
        copyFile(old, fd, this.size)
        this.#mapping.replace(fd)
        this.#fd = fd
      } catch (error) {
        closeFd(fd)
        throw error
      }
    } catch (error) {
      this.#mapping.unmap()
      throw error
    } finally {
      closeFd(old)
    }
  }

  /** Idempotent. The bytes read zeros afterwards; a client's own mapping stays. */
  free(): void {
    this.#mapping.unmap()
    if (this.#fd < 0) return
    const fd = this.#fd
    this.#fd = -1
    closeFd(fd)
  }
}

/** All that one mdev shares. */
export class SharedMemories {
  readonly #arena = new Arena()
  readonly #files: MemoryFile[] = []

  /** @throws as {@link MemoryFile} */
  create(size: number): SharedMemory {
    const file = new MemoryFile(this.#arena, size)
    this.#files.push(file)
    return file
  }

  /** @throws the first error of a {@link MemoryFile.renew}, after all of them */
  renew(): void {
    this.#forEach((file) => file.renew())
  }

  free(): void {
    this.#forEach((file) => file.free())
  }

  #forEach(step: (file: MemoryFile) => void): void {
    using steps = new Unwind() // each is done, even after one that throws
    for (const file of this.#files) steps.defer(() => step(file))
  }
}
