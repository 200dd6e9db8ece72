import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { SocketPort } from '../../../drivers/mtty/port-socket.ts'
import { Scratch } from '../../support/scratch.ts'
import { run } from './support.ts'
import { Collector, sendAll } from './waiting.ts'

/** A port and what it needs, closed when the scope ends. */
class Setup implements Disposable {
  readonly scratch = new Scratch()
  readonly path = join(this.scratch.path, 'port0')
  readonly peers: Socket[] = []
  #port: SocketPort | undefined

  async open(heedsRts = false): Promise<{ port: SocketPort; guest: Collector }> {
    this.#port = SocketPort.open(this.path, heedsRts)
    return { port: this.#port, guest: new Collector(this.#port) }
  }

  async connect(): Promise<Socket> {
    const peer = connect({ path: this.path, allowHalfOpen: true })
    this.peers.push(peer)
    await once(peer, 'connect')
    return peer
  }

  [Symbol.dispose](): void {
    for (const peer of this.peers) peer.destroy()
    this.#port?.close()
    this.scratch[Symbol.dispose]()
  }
}

/** The next `count` bytes that a peer gets. */
async function receive(peer: Socket, count: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let length = 0; length < count;) {
    const chunk = peer.read() as Buffer | null
    if (chunk === null) {
      await once(peer, 'readable')
    } else {
      chunks.push(chunk)
      length += chunk.length
    }
  }
  return Buffer.concat(chunks)
}

/** Sends until nothing more is taken, even after the port could hand on what it has: all buffers are full. */
async function fill(sendOne: () => boolean): Promise<void> {
  for (let stuck = 0; stuck < 3; stuck++) {
    for (let sent = 0; sendOne(); sent++) {
      stuck = 0
      assert.ok(sent < 2 ** 24, `${sent} are taken`)
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('SocketPort carries bytes both ways, and its socket is for its owner only', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  assert.equal(port.place, setup.path)
  assert.equal(statSync(setup.path).mode & 0o777, 0o600)
  const peer = await setup.connect()
  peer.write('to the guest')
  assert.equal((await guest.next(12)).toString(), 'to the guest')
  for (const byte of Buffer.from('from the guest')) assert.equal(port.send(byte), true)
  assert.equal((await receive(peer, 14)).toString(), 'from the guest')
})

test('SocketPort is present while a peer is; without one what is sent is dropped', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  assert.equal(port.present, false)
  for (let i = 0; i < 10_000; i++) assert.equal(port.send(0x41), true)
  const peer = await setup.connect()
  await guest.until(() => port.present)
  port.send(0x42)
  assert.equal((await receive(peer, 1)).toString(), 'B', 'not what was sent before it came')
  peer.destroy()
  await guest.until(() => !port.present)
})

test('SocketPort delivers what a peer sent before it closed', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  await guest.until(() => port.present)
  peer.end('last words', () => peer.destroy())
  await guest.until(() => !port.present)
  assert.equal((await guest.next(10)).toString(), 'last words')

  const next = await setup.connect()
  next.write('hello')
  assert.equal((await guest.next(5)).toString(), 'hello')
})

test('SocketPort gives the next peer nothing that the last did not take', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  await guest.until(() => port.present)
  await fill(() => port.send(0x41))
  peer.destroy()
  await guest.until(() => !port.present)
  const next = await setup.connect()
  await guest.until(() => port.present)
  port.send(0x42)
  assert.equal((await receive(next, 1)).toString(), 'B')
})

test('SocketPort closes a second peer at once and keeps the first', async () => {
  using setup = new Setup()
  const { guest } = await setup.open()
  const first = await setup.connect()
  const second = await setup.connect()
  second.resume()
  await once(second, 'end')
  first.write('still here')
  assert.equal((await guest.next(10)).toString(), 'still here')
})

test('SocketPort keeps a peer that has only ended its sending, until it closes', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  peer.end('question')
  assert.equal((await guest.next(8)).toString(), 'question')
  for (const byte of Buffer.from('answer')) port.send(byte)
  assert.equal((await receive(peer, 6)).toString(), 'answer')
  assert.equal(port.present, true)
  peer.destroy()
  await guest.until(() => !port.present)
})

test('SocketPort makes a guest wait for a peer that does not read, and loses nothing', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  peer.pause()
  await guest.until(() => port.present)
  const sent = Buffer.from(run(0, 4_000_000))
  let taken = 0
  // until the port refuses even after it could hand on what it has: both buffers and the socket are full
  for (let stuck = 0; stuck < 3;) {
    const before = taken
    while (taken < sent.length && port.send(sent[taken] ?? 0)) taken++
    stuck = taken === before ? stuck + 1 : 0
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(taken < sent.length / 2, `${taken} bytes are buffered`)
  const received = receive(peer, sent.length)
  await sendAll(port, (condition) => guest.until(condition), sent.subarray(taken))
  assert.ok((await received).equals(sent))
})

test('SocketPort makes a peer wait for a guest that does not read, and loses nothing', async () => {
  using setup = new Setup()
  const { guest } = await setup.open()
  const peer = await setup.connect()
  const sent = Buffer.from(run(0, 4_000_000))
  let written = false
  peer.write(sent, () => (written = true))
  await guest.next(1)
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(written, false, 'most of it is still with the peer')
  assert.ok((await guest.next(sent.length - 1)).equals(sent.subarray(1)))
})

test('SocketPort holds input back while a guest holds RTS low, if it is to heed RTS', async () => {
  for (const heedsRts of [true, false]) {
    using setup = new Setup()
    const { port, guest } = await setup.open(heedsRts)
    const peer = await setup.connect()
    peer.write('a')
    assert.equal(
      (await guest.next(1)).toString(),
      'a',
      'a guest that has not said anything about RTS',
    )
    port.setRts(false)
    peer.end('b', () => peer.destroy())
    await guest.until(() => !port.present)
    assert.equal(port.receive(), heedsRts ? -1 : 0x62)
    port.setRts(true)
    assert.equal(port.receive(), heedsRts ? 0x62 : -1)
  }
})

test('SocketPort delivers what a guest left behind, and gives the next guest what it left unread', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  peer.write('cd')
  await guest.next(1)
  port.send(0x31)
  port.hangUp([0x32, 0x33], [0x61, 0x62])
  assert.equal((await receive(peer, 3)).toString(), '123')
  assert.equal((await guest.next(3)).toString(), 'abd')
})

test('SocketPort refuses a path that is too long, naming it', async () => {
  using scratch = new Scratch()
  const fits = join(scratch.path, 'x'.repeat(107 - scratch.path.length - 1))
  const port = SocketPort.open(fits, false)
  assert.ok(existsSync(fits))
  port.close()
  const long = `${fits}x`
  assert.throws(
    () => SocketPort.open(long, false),
    (error: NodeJS.ErrnoException) => {
      assert.equal(error.code, 'ENAMETOOLONG')
      assert.ok(error.message.includes(long))
      return true
    },
  )
  assert.deepEqual(readdirSync(scratch.path), [])
})

test('SocketPort refuses a path where somebody listens, and leaves it alone', async () => {
  using setup = new Setup()
  const { guest } = await setup.open()
  const peer = await setup.connect()
  assert.throws(() => SocketPort.open(setup.path, false), { code: 'EADDRINUSE' })
  peer.write('x')
  await guest.next(1)
})

test('SocketPort refuses a path where there is something else, and leaves it alone', async () => {
  using setup = new Setup()
  writeFileSync(setup.path, 'mine')
  assert.throws(() => SocketPort.open(setup.path, false), { code: 'EADDRINUSE' })
  assert.ok(statSync(setup.path).isFile())
})

test('SocketPort replaces the socket that a dead process left', async () => {
  using setup = new Setup()
  const program = `require('net').createServer().listen(${JSON.stringify(setup.path)}, () => process.kill(process.pid, 9))`
  spawnSync(process.execPath, ['-e', program])
  assert.ok(statSync(setup.path).isSocket())
  const { guest } = await setup.open()
  const peer = await setup.connect()
  peer.write('x')
  await guest.next(1)
})

test('SocketPort.close() hands over what was sent, ends the peer and unlinks the path', async () => {
  using setup = new Setup()
  const { port, guest } = await setup.open()
  const peer = await setup.connect()
  await guest.until(() => port.present)
  port.send(0x41)
  port.close()
  port.close()
  assert.equal(existsSync(setup.path), false)
  assert.equal((await receive(peer, 1)).toString(), 'A')
})
