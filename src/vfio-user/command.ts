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
   * Does it. The reply's payload is written into `client.reply`, at `client.replyAt`.
   *
   * @returns bytes of payload in the reply
   * @throws an errno, which becomes the error reply
   */
  readonly run: (client: ServedClient, request: Message) => number
}
