import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Peer } from '../../src/os/peer.ts'
import { listenForPeer } from '../../src/os/peer-socket.ts'
import { openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

/** A place, its owner's view of what happens there, and programs that come. */
class Place implements Disposable {
  readonly #scratch = new Scratch()
  readonly path = join(this.#scratch.path, 'peer')
  readonly peer: Peer
  readonly #programs: Socket[] = []
  #changed = (): void => {}

  constructor() {
    const onChange = () => this.#changed()
    this.peer = listenForPeer(this.path, {
      onReadable: onChange,
      onWritable: onChange,
      onPresence: onChange,
    })
  }

  /** A program that has come, as the place sees it too. */
  async program(): Promise<Socket> {
    const socket = connect({ path: this.path, allowHalfOpen: true })
    this.#programs.push(socket)
    socket.on('error', () => {})
    await once(socket, 'connect')
    await this.until(() => this.peer.present)
    return socket
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#changed = resolve))
  }

  read(): string {
    const buffer = Buffer.alloc(1024)
    return buffer.toString('latin1', 0, this.peer.read(buffer))
  }

  [Symbol.dispose](): void {
    for (const socket of this.#programs) socket.destroy()
    this.peer.close()
    this.#scratch[Symbol.dispose]()
  }
}

test('listenForPeer() keeps what a program wrote before it closed, while the owner goes on writing', async () => {
  using place = new Place()
  const program = await place.program()
  program.end('last words')
  program.destroy()
  // What is sent meanwhile, to a program that is gone or going, takes nothing of what it left.
  while (place.peer.present) {
    place.peer.write(Buffer.from('x'))
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(place.read(), 'last words')
  assert.equal(place.read(), '')
})

test('listenForPeer() reads what programs left in the order they came', async () => {
  using place = new Place()
  for (const words of ['one ', 'two ', 'three ']) {
    const program = await place.program()
    program.end(words, () => program.destroy())
    await place.until(() => !place.peer.present)
  }
  const last = await place.program()
  last.write('four')
  let heard = ''
  while (!heard.endsWith('four')) {
    const text = place.read()
    heard += text
    if (text === '') await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(heard, 'one two three four')
})

test('listenForPeer() has room for the last words of eight programs, and closes a ninth at once', async () => {
  using place = new Place()
  for (let i = 0; i < 8; i++) {
    const program = await place.program()
    program.end(String(i), () => program.destroy())
    await place.until(() => !place.peer.present)
  }
  const ninth = connect(place.path)
  ninth.resume()
  await once(ninth, 'close')
  assert.equal(place.peer.present, false)
  assert.equal(place.read(), '0')
})

test('Peer.close() leaves no fd and no file, with a program there and with words unread', async () => {
  const before = openFds().length
  using place = new Place()
  const first = await place.program()
  first.end('unread', () => first.destroy())
  await place.until(() => !place.peer.present)
  const second = await place.program()
  second.resume()
  const ended = once(second, 'end')
  place.peer.close()
  place.peer.close()
  await ended
  second.destroy()
  await once(second, 'close')
  assert.equal(openFds().length, before)
  assert.equal(existsSync(place.path), false)
  assert.equal(place.peer.present, false)
  assert.equal(place.peer.read(Buffer.alloc(8)), 0)
  assert.equal(place.peer.write(Buffer.from('x')), 1)
})
