/**
 * A client that comes while another is served: its first message is answered with the errno of the refusal.
 *
 * Closing without an answer would be simpler, but QEMU 11.1 can abort when its first write meets a closed socket, and a
 * guest with it when the device was being added to it. So we end only our sending, and leave the closing to the client.
 */
import { closeFd } from '../os/fd.ts'
import { sendBytes } from '../os/message.ts'
import { EPOLLIN, type Reactor } from '../os/reactor.ts'
import { endWriting } from '../os/socket-ends.ts'
import type { SharedBuffers } from './connection.ts'
import { encodeMessage, FAILURE, FrameReader } from './frame.ts'

/** Most clients that are being refused; more are closed at once. */
const MAX_REFUSED = 16
/** How long a client has to say something, and then to close. */
const PATIENCE_MS = 1000

export class RefusedClients {
  readonly #reactor: Reactor
  readonly #buffers: SharedBuffers
  readonly #ends = new Set<() => void>()

  constructor(reactor: Reactor, buffers: SharedBuffers) {
    this.#reactor = reactor
    this.#buffers = buffers
  }

  /** @param fd owned here from now on @param errno what the client is told */
  refuse(fd: number, errno: number): void {
    if (this.#ends.size >= MAX_REFUSED) {
      closeFd(fd)
      return
    }
    const end = () => {
      if (!this.#ends.delete(end)) return
      clearTimeout(timer)
      watch.close()
      reader.close()
      closeFd(fd)
    }
    let answered = false
    const reader = new FrameReader(this.#buffers.inbox, MAX_MESSAGE, (message) => {
      if (!answered) answer(fd, message.id, message.command, errno)
      answered = true
      return true
    })
    const watch = this.#reactor.watch(fd, EPOLLIN, () => {
      try {
        if (reader.receive(fd) === 'end') end()
      } catch {
        end()
      }
    })
    const timer = setTimeout(end, PATIENCE_MS)
    this.#ends.add(end)
  }

  close(): void {
    for (const end of this.#ends) end()
  }
}

/** A VERSION message and then some. */
const MAX_MESSAGE = 8192

function answer(fd: number, id: number, command: number, errno: number): void {
  sendBytes(fd, encodeMessage({ id, command, flags: FAILURE, error: errno }))
  endWriting(fd)
}
