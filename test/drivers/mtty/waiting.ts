/** Waiting for what a line tells, instead of for time to pass. */
import type { SerialLine } from '../../../drivers/mtty/serial-line.ts'

/** Attaches to `line`. @returns a function that waits until a condition holds, looking after each change */
export function watchLine(line: SerialLine): (condition: () => boolean) => Promise<void> {
  let look = (): void => {}
  line.attach(() => look())
  return (condition) =>
    new Promise((resolve) => {
      look = () => {
        if (!condition()) return
        look = () => {}
        resolve()
      }
      look()
    })
}

/** What has been received on a line, as a guest that is always ready reads it. */
export class Collector {
  readonly #line: SerialLine
  readonly #until: (condition: () => boolean) => Promise<void>
  readonly #bytes: number[] = []

  constructor(line: SerialLine) {
    this.#line = line
    this.#until = watchLine(line)
  }

  /** Waits until a condition holds. */
  until(condition: () => boolean): Promise<void> {
    return this.#until(condition)
  }

  /** The next `count` bytes; more are left on the line. */
  async next(count: number): Promise<Buffer> {
    await this.#until(() => {
      while (this.#bytes.length < count) {
        const char = this.#line.receive()
        if (char < 0) return false
        this.#bytes.push(char)
      }
      return true
    })
    return Buffer.from(this.#bytes.splice(0))
  }
}

/** Sends all of `bytes`, as fast as the line takes them. */
export async function sendAll(
  line: SerialLine,
  until: (condition: () => boolean) => Promise<void>,
  bytes: Uint8Array,
): Promise<void> {
  let sent = 0
  await until(() => {
    while (sent < bytes.length && line.send(bytes[sent] ?? 0)) sent++
    return sent === bytes.length
  })
}
