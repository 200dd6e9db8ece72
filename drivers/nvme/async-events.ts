/** Asynchronous events (5.2): commands that wait until there is something to tell, and what waits for a command. */
import type { Command } from './command.ts'
import { STATUS } from './spec.ts'

/** Commands that may wait at a time. */
export const ASYNC_EVENT_LIMIT = 4
/** Events that may wait. */
const MAX_EVENTS = 16

interface AsyncEvent {
  readonly type: number
  readonly information: number
  readonly log: number
}

export class AsyncEvents {
  readonly #commands: Command[] = []
  readonly #events: AsyncEvent[] = []
  /** Types of which nothing more is told until the guest has read the log. */
  readonly #told = new Map<number, number>()

  /** Asynchronous Event Request. It ends when there is an event. */
  request(command: Command): void {
    if (this.#commands.length >= ASYNC_EVENT_LIMIT) {
      command.refuse(STATUS.ASYNC_EVENT_LIMIT_EXCEEDED)
      return
    }
    this.#commands.push(command)
    this.#tell()
  }

  /** Something has happened. @param log the page that has more of it */
  notify(type: number, information: number, log: number): void {
    const isKnown = this.#events.some(
      (event) => event.type === type && event.information === information,
    )
    if (isKnown || this.#events.length >= MAX_EVENTS) return
    this.#events.push({ type, information, log })
    this.#tell()
  }

  /** The guest has read a log: it may be told more of what is in there. */
  wasRead(log: number): void {
    for (const [type, of] of this.#told) if (of === log) this.#told.delete(type)
    this.#tell()
  }

  /** Ends a command that waits, as the guest wants it. @returns whether there was one of that id */
  abort(id: number): boolean {
    const at = this.#commands.findIndex((command) => command.id === id)
    const [command] = at < 0 ? [] : this.#commands.splice(at, 1)
    command?.fail(STATUS.ABORT_REQUESTED)
    return command !== undefined
  }

  #tell(): void {
    while (this.#commands.length > 0) {
      const at = this.#events.findIndex(({ type }) => !this.#told.has(type))
      const [event] = at < 0 ? [] : this.#events.splice(at, 1)
      if (event === undefined) return
      this.#told.set(event.type, event.log)
      const { type, information, log } = event
      this.#commands.shift()?.succeed(log * 0x1_0000 + information * 0x100 + type)
    }
  }
}
