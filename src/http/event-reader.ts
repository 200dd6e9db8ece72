/** Reads a stream of server-sent events, as far as the API uses them. */
import type { Readable } from 'node:stream'
import type { MachineEvent, SnapshotEvent } from './events.ts'

/**
 * The events of `stream`, until it ends.
 *
 * @see HTML Living Standard, 9.2.6: events end with an empty line, `data:` lines hold what is told
 */
export async function* eventsOf(
  stream: Readable,
): AsyncGenerator<SnapshotEvent | MachineEvent, void, void> {
  let unread = ''
  for await (const chunk of stream.setEncoding('utf8') as AsyncIterable<string>) {
    const texts = (unread + chunk).split('\n\n')
    unread = texts.pop() ?? ''
    for (const text of texts) {
      const data = text
        .split('\n')
        .filter((line) => line.startsWith('data: '))
        .map((line) => line.slice('data: '.length))
      if (data.length > 0) yield JSON.parse(data.join('\n')) as SnapshotEvent | MachineEvent
    }
  }
}
