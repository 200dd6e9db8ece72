/** The open event streams: each begins with everything there is, then hears what happens, unless it is too slow to listen. */
import type { ServerResponse } from 'node:http'
import { ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import type { ControlPlane } from '../mdev/control-plane.ts'
import type { EventSource, MachineEvent, SnapshotEvent } from './events.ts'

/** Most at a time. */
const MAX_STREAMS = 64
/** What may wait for a listener besides the snapshot, bytes: the end of a host that bore some thousand mdevs. */
const MAX_BACKLOG = 4 * 1024 * 1024

export interface EventStreamsOptions {
  readonly plane: ControlPlane
  readonly events: EventSource
  readonly log: Logger
  readonly maxBacklog?: number
}

export class EventStreams {
  readonly #options: EventStreamsOptions
  readonly #open = new Set<ServerResponse>()

  constructor(options: EventStreamsOptions) {
    this.#options = options
  }

  /** How many there are. */
  get count(): number {
    return this.#open.size
  }

  /**
   * Answers with a stream.
   *
   * @throws EAGAIN there are as many as there may be · what keeps us from seeing what there is; then nothing is answered
   */
  async open(response: ServerResponse): Promise<void> {
    if (this.#open.size >= MAX_STREAMS) {
      throw new ErrnoError('EAGAIN', `event stream: ${MAX_STREAMS} are open, and no more may be`)
    }
    const { events } = this.#options
    // What happens while we look: it may be in the snapshot too, and telling it again does no harm.
    const meanwhile: MachineEvent[] = []
    let tell = (event: MachineEvent): void => void meanwhile.push(event)
    const unsubscribe = events.subscribe((event) => tell(event))
    this.#open.add(response)
    response.once('close', () => {
      unsubscribe()
      this.#open.delete(response)
    })
    try {
      const snapshot = await this.#snapshot()
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
      })
      const first = textOf(snapshot)
      response.write(first)
      const limit = Buffer.byteLength(first) + (this.#options.maxBacklog ?? MAX_BACKLOG)
      tell = (event) => this.#write(response, event, limit)
      for (const event of meanwhile) tell(event)
    } catch (error) {
      unsubscribe()
      this.#open.delete(response)
      throw error
    }
  }

  /** Ends all of them. */
  close(): void {
    for (const response of this.#open) response.destroy()
  }

  async #snapshot(): Promise<SnapshotEvent> {
    const { plane } = this.#options
    const [parents, { mdevs, faults }] = await Promise.all([plane.parents(), plane.list()])
    return { action: 'snapshot', parents, mdevs, faults }
  }

  #write(response: ServerResponse, event: MachineEvent, limit: number): void {
    if (response.writableLength <= limit) {
      response.write(textOf(event))
    } else {
      this.#options.log.warn('event stream: cut off, as it is read too slowly')
      response.destroy()
    }
  }
}

/** JSON has no newlines, so one line of data holds it. */
function textOf(event: SnapshotEvent | MachineEvent): string {
  return `event: ${event.action}\ndata: ${JSON.stringify(event)}\n\n`
}
