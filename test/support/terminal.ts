/** The program at the far end of a serial port: a terminal, or a client of a socket. */
import { closeSync, constants, openSync } from 'node:fs'
import { type Socket, connect } from 'node:net'
import { once } from 'node:events'
import { ReadStream } from 'node:tty'
import { Transcript } from './transcript.ts'

export class Terminal implements AsyncDisposable {
  /** What came, a character a byte. */
  readonly received: Transcript
  readonly #stream: Socket
  readonly #release: () => void

  /** @param release what to do when the stream is closed */
  private constructor(stream: Socket, path: string, release: () => void = () => {}) {
    this.#stream = stream
    this.#release = release
    this.received = new Transcript(path)
    stream.setEncoding('latin1').on('data', (text: string) => this.received.push(text))
    stream.on('error', () => {}) // EIO: the terminal is gone; 'close' follows
    stream.on('close', () => this.received.end('closed'))
  }

  /** Opens a terminal as programs for serial lines do. */
  static open(path: string): Terminal {
    const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
    // libuv opens the terminal once more, and leaves ours to us
    return new Terminal(new ReadStream(fd), path, () => closeSync(fd))
  }

  /** Connects to a socket. */
  static async connect(path: string): Promise<Terminal> {
    const socket = connect(path)
    await once(socket, 'connect')
    return new Terminal(socket, path)
  }

  write(text: string | Uint8Array): void {
    this.#stream.write(text)
  }

  async close(): Promise<void> {
    if (this.#stream.closed) return
    const closed = once(this.#stream, 'close')
    this.#stream.destroy()
    await closed
    this.#release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
