/** Memory that the client declared without a file: it reads and writes for us. */
import type { CopiedMemory, RemoteMemory } from './memory.ts'

export class MessageMemory implements CopiedMemory {
  readonly mapped = false
  readonly noView =
    'this memory came without a file; use read and write, or start the VM with shared memory'
  readonly #remote: RemoteMemory
  readonly #iova: number

  constructor(remote: RemoteMemory, iova: number) {
    this.#remote = remote
    this.#iova = iova
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#remote.read(this.#iova + offset, target)
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.#remote.write(this.#iova + offset, source)
  }
}
