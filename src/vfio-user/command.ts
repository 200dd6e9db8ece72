/** What a command of the protocol is: its limits and what it does. The table of them is in commands.ts. */
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'

export interface Command {
  readonly name: string
  /** Least payload, bytes: the fixed part of the request. */
  readonly minPayload: number
  /** Most fds that a request may carry. */
  readonly maxFds: number
  /**
   * Does it: at once, or, where it has to wait, by and by.
   *
   * At once, the reply's payload is written into `client.reply`, at `client.replyAt`. That buffer is shared by all clients,
   * and `request` is reused, so a promise is of payload bytes of their own, and what they are made from is copied before
   * waiting; fds cannot go with them. Until it settles, nothing more is received from this client, not even an answer to
   * message DMA on its only socket: such a command must not wait for that.
   *
   * @returns bytes of payload in the reply, or a promise of the payload
   * @throws an errno, which becomes the error reply, as a rejection does
   */
  readonly run: (client: ServedClient, request: Message) => number | Promise<Uint8Array>
}
