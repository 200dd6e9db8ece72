/** What a socket did not take at once, in order. Fds go with the first byte of the message that they belong to. */
import { sendBytes } from '../os/message.ts'

interface Part {
  readonly bytes: Uint8Array
  readonly fds: readonly number[]
}

export class Backlog {
  readonly #parts: Part[] = []
  #size = 0

  get isEmpty(): boolean {
    return this.#parts.length === 0
  }

  /** How many messages, or parts of them. */
  get count(): number {
    return this.#parts.length
  }

  /** Bytes of all of them. */
  get size(): number {
    return this.#size
  }

  /** @param fds stay the caller's, who keeps them open for as long as this may be sent */
  add(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.#parts.push({ bytes, fds })
    this.#size += bytes.length
  }

  /** Sends what the socket takes. @returns whether that was all @throws EPIPE, ECONNRESET */
  send(fd: number): boolean {
    for (let part = this.#parts[0]; part !== undefined; part = this.#parts[0]) {
      const sent = Math.max(0, sendBytes(fd, part.bytes, part.fds))
      this.#size -= sent
      if (sent < part.bytes.length) {
        if (sent > 0) this.#parts[0] = { bytes: part.bytes.subarray(sent), fds: [] }
        return false
      }
      this.#parts.shift()
    }
    return true
  }

  clear(): void {
    this.#parts.length = 0
    this.#size = 0
  }
}
