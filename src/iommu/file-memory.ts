/** Memory reached by file I/O: in a file that its owner may shrink, which must not be touched through a mapping. */
import { readSync, writeSync } from 'node:fs'
import type { ClientFile } from './client-file.ts'
import type { CopiedMemory } from './memory.ts'

/** Most bytes of one call: Node refuses 2 GiB. */
const MAX_IO = 2 ** 30

export class FileMemory implements CopiedMemory {
  readonly mapped = false
  readonly noView = 'this memory can shrink, so it is not mapped; use read and write'
  readonly #fd: number
  readonly #start: number

  /** @param start where the map lies in the file */
  constructor(file: ClientFile, start: number) {
    this.#fd = file.fd
    this.#start = start
  }

  read(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const length = Math.min(MAX_IO, target.length - done)
      const count = readSync(this.#fd, target, done, length, this.#start + offset + done)
      if (count === 0) {
        target.fill(0, done) // the client has cut its file: its pages are gone, and read as zeros
        return
      }
      done += count
    }
  }

  write(offset: number, source: Uint8Array): void {
    for (let done = 0; done < source.length;) {
      const length = Math.min(MAX_IO, source.length - done)
      done += writeSync(this.#fd, source, done, length, this.#start + offset + done)
    }
  }
}
